#include "pipeline/schedule_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/check.h"

namespace mapl::pipeline {
namespace {

std::string at(size_t stage, const Action& action) {
  Schedule one;
  one.stages.resize(stage + 1);
  one.stages[stage] = {action};
  const std::string text = print(one);
  return text.substr(stage,
                     text.size() - stage - 1);  // without the empty lines and the last newline
}

// One stage alone: everything once, in a possible order.
std::string find_local_problem(const Schedule& schedule, size_t stage) {
  const bool first = stage == 0;
  const bool last = stage + 1 == schedule.stages.size();
  std::set<std::pair<Op, int>> done;
  int next_backward = 0;
  for (const Action& action : schedule.stages[stage]) {
    const int m = action.micro_batch;
    const auto has = [&](Op op) { return done.contains({op, m}); };
    const std::string where = at(stage, action);
    if (!done.insert({action.op, m}).second) return where + " stands twice";
    switch (action.op) {
      case Op::kForward:
        if (!first && !has(Op::kRecvActivation)) return where + " comes before its activation";
        break;
      case Op::kBackward:
        if (!has(Op::kForward)) return where + " comes before its forward";
        if (!last && !has(Op::kRecvGradient)) return where + " comes before its gradient";
        if (m != next_backward++) return where + " is out of order: backwards must ascend";
        break;
      case Op::kSendActivation:
        if (last) return where + " has no stage to go to";
        if (!has(Op::kForward)) return where + " comes before its forward";
        break;
      case Op::kSendGradient:
        if (first) return where + " has no stage to go to";
        if (!has(Op::kBackward)) return where + " comes before its backward";
        break;
      case Op::kRecvActivation:
        if (first) return where + " has no stage to come from";
        break;
      case Op::kRecvGradient:
        if (last) return where + " has no stage to come from";
        break;
    }
  }
  return "";
}

std::vector<int> micro_batches(const std::vector<Action>& actions, Op op) {
  std::vector<int> found;
  for (const Action& action : actions) {
    if (action.op == op) found.push_back(action.micro_batch);
  }
  return found;
}

std::string find_link_problem(const Schedule& schedule, size_t boundary) {
  const auto& from = schedule.stages[boundary];
  const auto& to = schedule.stages[boundary + 1];
  const auto sorted = [](std::vector<int> values) {
    std::sort(values.begin(), values.end());
    return values;
  };
  if (sorted(micro_batches(from, Op::kForward)) != sorted(micro_batches(to, Op::kForward)) ||
      micro_batches(from, Op::kBackward) != micro_batches(to, Op::kBackward)) {
    return fmt::format("stages {} and {} do not run the same micro-batches", boundary,
                       boundary + 1);
  }
  if (micro_batches(from, Op::kSendActivation) != micro_batches(to, Op::kRecvActivation)) {
    return fmt::format("stages {} and {} disagree about the activations between them", boundary,
                       boundary + 1);
  }
  if (micro_batches(to, Op::kSendGradient) != micro_batches(from, Op::kRecvGradient)) {
    return fmt::format("stages {} and {} disagree about the gradients between them", boundary,
                       boundary + 1);
  }
  return "";
}

struct Played {
  std::string deadlock;                 // "" when every stage came to its end
  std::vector<std::vector<int>> start;  // [stage][position], in columns
};

int duration(Op op) { return op == Op::kForward ? 1 : op == Op::kBackward ? 2 : 0; }

// Runs all stages against each other; sends never block.
Played play(const Schedule& schedule) {
  const size_t num_stages = schedule.stages.size();
  Played played;
  played.start.resize(num_stages);
  std::vector<int> clock(num_stages, 0);
  std::map<std::tuple<Op, size_t, int>, int> sent;  // op, receiving stage, micro-batch -> time
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t stage = 0; stage < num_stages; ++stage) {
      const auto& actions = schedule.stages[stage];
      auto& start = played.start[stage];
      while (start.size() < actions.size()) {
        const auto [op, m] = actions[start.size()];
        if (op == Op::kRecvActivation || op == Op::kRecvGradient) {
          const auto arrived = sent.find({op, stage, m});
          if (arrived == sent.end()) break;
          clock[stage] = std::max(clock[stage], arrived->second);
        }
        if (op == Op::kSendActivation) sent[{Op::kRecvActivation, stage + 1, m}] = clock[stage];
        if (op == Op::kSendGradient) sent[{Op::kRecvGradient, stage - 1, m}] = clock[stage];
        start.push_back(clock[stage]);
        clock[stage] += duration(op);
        moved = true;
      }
    }
  }
  for (size_t stage = 0; stage < num_stages; ++stage) {
    const size_t position = played.start[stage].size();
    if (position < schedule.stages[stage].size()) {
      played.deadlock = "deadlock: stage " + std::to_string(stage) + " waits for ever at " +
                        at(stage, schedule.stages[stage][position]);
      break;
    }
  }
  return played;
}

}  // namespace

std::string find_problem(const Schedule& schedule) {
  if (schedule.stages.empty()) return "there is no stage";
  for (size_t stage = 0; stage < schedule.stages.size(); ++stage) {
    const std::string problem = find_local_problem(schedule, stage);
    if (!problem.empty()) return problem;
  }
  for (size_t boundary = 0; boundary + 1 < schedule.stages.size(); ++boundary) {
    const std::string problem = find_link_problem(schedule, boundary);
    if (!problem.empty()) return problem;
  }
  return play(schedule).deadlock;
}

std::string draw(const Schedule& schedule) {
  MAPL_CHECK(find_problem(schedule).empty(), "{}", find_problem(schedule));
  const Played played = play(schedule);
  std::string grid;
  for (size_t stage = 0; stage < schedule.stages.size(); ++stage) {
    std::string row = fmt::format("stage {:<3}", stage);
    for (size_t i = 0; i < schedule.stages[stage].size(); ++i) {
      const auto [op, m] = schedule.stages[stage][i];
      if (duration(op) == 0) continue;
      row.resize(9 + static_cast<size_t>(played.start[stage][i]) * 4, ' ');
      row += fmt::format("{}{:<{}}", op == Op::kForward ? "F" : "B", m, duration(op) * 4 - 1);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    grid += row + "\n";
  }
  return grid;
}

}  // namespace mapl::pipeline
