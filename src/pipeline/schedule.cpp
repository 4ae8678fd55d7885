#include "pipeline/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include "base/check.h"
#include "base/status.h"

namespace mapl::pipeline {
namespace {

constexpr std::array<const char*, 6> kOpNames = {"F", "B", "SA", "RA", "SG", "RG"};

std::string word(int stage, const Action& action) {
  return fmt::format("{}{}{}", stage, kOpNames[static_cast<size_t>(action.op)], action.micro_batch);
}

int take_number(std::string_view& text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return error == std::errc() ? value : -1;
}

Action parse_word(const std::string& written, int stage, int line) {
  std::string_view rest = written;
  const int written_stage = take_number(rest);
  const size_t letters = rest.find_first_of("0123456789");
  const auto op = std::find(kOpNames.begin(), kOpNames.end(), rest.substr(0, letters));
  rest.remove_prefix(std::min(letters, rest.size()));
  const int micro_batch = take_number(rest);
  if (written_stage != stage || op == kOpNames.end() || micro_batch < 0 || !rest.empty()) {
    throw UserError(
        fmt::format("schedule line {}: '{}' is not an action of stage {}; write {}F0, {}B0, {}SA0, "
                    "{}RA0, {}SG0 or "
                    "{}RG0",
                    line, written, stage, stage, stage, stage, stage, stage, stage));
  }
  return {static_cast<Op>(op - kOpNames.begin()), micro_batch};
}

}  // namespace

Schedule gpipe(int num_stages, int num_micro_batches) {
  Schedule schedule = forward_only(num_stages, num_micro_batches);
  for (auto& actions : schedule.stages) {
    for (int m = 0; m < num_micro_batches; ++m) actions.push_back({Op::kBackward, m});
  }
  return schedule;
}

Schedule one_forward_one_backward(int num_stages, int num_micro_batches, int in_flight) {
  if (in_flight == 0) in_flight = num_stages;
  Schedule schedule;
  for (int stage = 0; stage < num_stages; ++stage) {
    const int64_t later = num_stages - 1 - stage;
    const int64_t share = num_stages > 1 ? (in_flight - 1) * later / (num_stages - 1) : 0;
    const auto warm_up = static_cast<int>(std::min<int64_t>(num_micro_batches, 1 + share));
    std::vector<Action> actions;
    for (int m = 0; m < warm_up; ++m) actions.push_back({Op::kForward, m});
    for (int m = 0; m < num_micro_batches; ++m) {
      actions.push_back({Op::kBackward, m});
      if (m + warm_up < num_micro_batches) actions.push_back({Op::kForward, m + warm_up});
    }
    schedule.stages.push_back(std::move(actions));
  }
  return schedule;
}

Schedule forward_only(int num_stages, int num_micro_batches) {
  std::vector<Action> actions;
  for (int m = 0; m < num_micro_batches; ++m) actions.push_back({Op::kForward, m});
  return {std::vector<std::vector<Action>>(static_cast<size_t>(num_stages), actions)};
}

Schedule make_schedule(const std::string& name, int num_stages, int num_micro_batches,
                       int in_flight) {
  if (name == "gpipe") return with_transfers(gpipe(num_stages, num_micro_batches));
  if (name == "1f1b") {
    return with_transfers(one_forward_one_backward(num_stages, num_micro_batches, in_flight));
  }
  throw UserError("pipeline.schedule is '" + name + "'; it must be gpipe or 1f1b");
}

Schedule with_transfers(const Schedule& compute) {
  Schedule schedule;
  const size_t last = compute.stages.size() - 1;
  for (size_t stage = 0; stage <= last; ++stage) {
    std::vector<Action> actions;
    for (const Action& action : compute.stages[stage]) {
      const int m = action.micro_batch;
      if (action.op == Op::kForward) {
        if (stage > 0) actions.push_back({Op::kRecvActivation, m});
        actions.push_back(action);
        if (stage < last) actions.push_back({Op::kSendActivation, m});
      } else {
        if (stage < last) actions.push_back({Op::kRecvGradient, m});
        actions.push_back(action);
        if (stage > 0) actions.push_back({Op::kSendGradient, m});
      }
    }
    schedule.stages.push_back(std::move(actions));
  }
  return schedule;
}

std::string print(const Schedule& schedule) {
  std::string text;
  for (size_t stage = 0; stage < schedule.stages.size(); ++stage) {
    const auto& actions = schedule.stages[stage];
    for (size_t i = 0; i < actions.size(); ++i) {
      text += (i == 0 ? "" : " ") + word(static_cast<int>(stage), actions[i]);
    }
    text += "\n";
  }
  return text;
}

Schedule parse(const std::string& text) {
  Schedule schedule;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto stage = static_cast<int>(schedule.stages.size());
    std::vector<Action> actions;
    std::istringstream words(line);
    for (std::string written; words >> written;) {
      actions.push_back(parse_word(written, stage, stage + 1));
    }
    schedule.stages.push_back(std::move(actions));
  }
  return schedule;
}

}  // namespace mapl::pipeline
