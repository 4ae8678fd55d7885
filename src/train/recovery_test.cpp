// Runs whose links break and whose stages die, in one process; tests/chaos does it with real ones.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "link/cut_link_for_test.h"
#include "train/run_all_for_test.h"
#include "train/same_run_for_test.h"
#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

namespace fs = std::filesystem;

// Ends a stage as its machine's loss would, at once and with nothing saved: a run catches and tells
// of std::exception.
struct Lost {};

// What happens to a run when stage 0's decision on a step leaves: its link breaks.
struct Breach {
  uint64_t step = 0;
  int num_refusals = 0;     // stage 0 is so often refused before it is let in again
  int num_throws = 0;       // and stage 1 finds its port taken
  std::string new_machine;  // stage 1 is lost with all it had, and begins anew in this folder
};

Status broken_run(Recipe recipe, const std::string& folder, Breach breach) {
  const LocalEndpoints endpoints(4);
  recipe.link.stages = endpoints.peers();
  create_run_folder(recipe, folder);
  link::ZmqContext context;
  std::atomic<bool> is_broken = false;
  StageGroup group(recipe);
  const Status status = group.run([&](int stage, Assembly& assembly, Trainer& trainer) {
    bool is_lost = false;
    const auto open = [&](double seconds) -> Result<StageLinks> {
      if (is_lost) throw Lost();
      is_lost = stage == 1 && !breach.new_machine.empty();
      if (stage == 0 && is_broken && breach.num_refusals-- > 0) {
        return Status(Code::kRefused, "altered");
      }
      if (stage == 1 && is_broken && breach.num_throws-- > 0) throw UserError("in use");
      auto links =
          open_links(recipe, stage, limits_of(recipe, assembly), context, {.seconds = seconds});
      if (stage == 0 && links.is_ok()) {
        auto& next = links.value().next;
        next = std::make_unique<link::CutLink>(std::move(next), [&](const link::Frame& frame) {
          const bool breaks = !is_broken && frame.header.kind == link::Kind::kCommit &&
                              frame.header.step == breach.step;
          if (breaks) is_broken = true;
          return breaks;
        });
      }
      return links;
    };
    try {
      return run_stage(recipe, stage, assembly, trainer, {.folder = folder, .open_links = open});
    } catch (const Lost&) {
      fs::create_directories(breach.new_machine);
    }
    Assembly fresh(recipe, stage);
    Trainer anew(recipe, stage, fresh);
    const auto open_again = [&](double seconds) {
      return open_links(recipe, stage, limits_of(recipe, fresh), context, {.seconds = seconds});
    };
    return run_stage(recipe, stage, fresh, anew,
                     {.folder = breach.new_machine, .open_links = open_again});
  });
  EXPECT_TRUE(is_broken);
  return status;
}

// The others had not heard of it, and it counts all the same: it must be in the metrics too.
TEST(Recovery, ADecisionThatDidNotLeaveIsLogged) {
  const SmallRun small;
  const std::string expected = small.folder() + "/expected";
  const Recipe recipe = small.recipe({"validation.interval=3", "link.rejoin_seconds=20"});
  ASSERT_TRUE(run_all(recipe, expected).is_ok());
  for (const uint64_t step : {1, 2, 5}) {  // validated after the second and the third of these
    const std::string folder = small.folder() + "/broken-" + std::to_string(step);
    const Status status = broken_run(recipe, folder, {.step = step});
    ASSERT_TRUE(status.is_ok()) << status.to_string();
    EXPECT_EQ(difference(folder, expected), "") << "step " << step;
  }
}

// The keys were right before: it is somebody on the way who alters the handshake.
TEST(Recovery, ARefusalAfterTheStartIsNotTheEnd) {
  const SmallRun small;
  const Status status = broken_run(small.recipe({"link.rejoin_seconds=20"}),
                                   small.folder() + "/run", {.step = 2, .num_refusals = 2});
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

// A port that is taken for a moment.
TEST(Recovery, LinksThatCannotBeMadeAtOnceAreTriedAgain) {
  const SmallRun small;
  const std::string expected = small.folder() + "/expected", folder = small.folder() + "/run";
  const Recipe recipe = small.recipe({"link.rejoin_seconds=20"});
  ASSERT_TRUE(run_all(recipe, expected).is_ok());
  const Status status = broken_run(recipe, folder, {.step = 2, .num_throws = 2});
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(difference(folder, expected), "");
}

// A step that ended with a recovery is saved all the same.
TEST(Recovery, AStepThatWasCutShortIsInACheckpointToo) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Status status = broken_run(
      small.recipe({"link.rejoin_seconds=20", "checkpoint.interval=4"}), folder, {.step = 3});
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  for (int stage = 0; stage < 4; ++stage) {
    EXPECT_TRUE(fs::exists(fmt::format("{}/checkpoints/step-4/stage-{}.json", folder, stage)));
  }
}

// From the decision on nothing of stage 0 reaches the others, though it does not know; the link
// breaks when `until` says so.
class MuteLink : public link::Link {
 public:
  MuteLink(std::unique_ptr<Link> inner, uint64_t step, std::function<bool()> until)
      : inner_(std::move(inner)), step_(step), until_(std::move(until)) {}

  Status send(link::Frame&& frame, Deadline deadline) override {
    is_mute_ |= frame.header.kind == link::Kind::kCommit && frame.header.step == step_;
    return is_mute_ ? Status::ok() : inner_->send(std::move(frame), deadline);
  }
  Result<link::Frame> recv(Deadline deadline) override {
    if (!is_mute_) return inner_->recv(deadline);
    while (!until_()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    inner_->close();
    return Status(Code::kPeerLost, "the connection broke");
  }
  Status health() override { return inner_->health(); }
  Status flush(Deadline deadline) override { return inner_->flush(deadline); }
  void close() noexcept override { inner_->close(); }

 private:
  std::unique_ptr<Link> inner_;
  uint64_t step_;
  std::function<bool()> until_;
  bool is_mute_ = false;
};

// The others have voted and wait; stage 0 has decided, saved and died. What it had decided, the
// norm of all gradients with it, is on its disk alone.
TEST(Recovery, ADecisionIsKnownAgainToAStageZeroThatWasStartedAgain) {
  const SmallRun small;
  const std::string expected = small.folder() + "/expected", folder = small.folder() + "/run";
  Recipe recipe =
      small.recipe({"training.max_norm=0.1", "checkpoint.interval=3", "link.rejoin_seconds=20"});
  ASSERT_TRUE(run_all(recipe, expected).is_ok());

  const LocalEndpoints endpoints(4);
  recipe.link.stages = endpoints.peers();
  create_run_folder(recipe, folder);
  link::ZmqContext context;
  StageGroup group(recipe);
  const Status status = group.run([&](int stage, Assembly& assembly, Trainer& trainer) {
    const auto open = [&](double seconds) {
      return open_links(recipe, stage, limits_of(recipe, assembly), context, {.seconds = seconds});
    };
    if (stage > 0) {
      return run_stage(recipe, stage, assembly, trainer, {.folder = folder, .open_links = open});
    }
    bool is_dead = false;
    const auto open_once = [&](double seconds) -> Result<StageLinks> {
      if (is_dead) throw Lost();
      is_dead = true;
      auto links = open(seconds);
      auto& next = links.value().next;
      next = std::make_unique<MuteLink>(std::move(next), /*step=*/2, [&] {
        return fs::exists(folder + "/checkpoints/step-3/stage-0.json");
      });
      return links;
    };
    EXPECT_THROW((void)run_stage(recipe, stage, assembly, trainer,
                                 {.folder = folder, .open_links = open_once}),
                 Lost);
    Assembly fresh(recipe, stage);
    Trainer anew(recipe, stage, fresh);
    return run_stage(recipe, stage, fresh, anew, {.folder = folder, .open_links = open});
  });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(difference(folder, expected), "");
  EXPECT_EQ(json_lines(folder + "/events.jsonl").back()["step"], 3);
}

// A run whose stage 1 goes for good when it passes on the decision on step 3.
Status run_that_is_left(Recipe recipe, const std::string& folder) {
  const LocalEndpoints endpoints(4);
  recipe.link.stages = endpoints.peers();
  create_run_folder(recipe, folder);
  link::ZmqContext context;
  StageGroup group(recipe);
  return group.run([&](int stage, Assembly& assembly, Trainer& trainer) {
    bool is_lost = false;
    const auto open = [&](double seconds) -> Result<StageLinks> {
      if (is_lost) throw Lost();
      is_lost = stage == 1;
      auto links =
          open_links(recipe, stage, limits_of(recipe, assembly), context, {.seconds = seconds});
      if (is_lost && links.is_ok()) {
        auto& next = links.value().next;
        next = std::make_unique<link::CutLink>(std::move(next), [](const link::Frame& frame) {
          return frame.header.kind == link::Kind::kCommit && frame.header.step == 3;
        });
      }
      return links;
    };
    try {
      return run_stage(recipe, stage, assembly, trainer, {.folder = folder, .open_links = open});
    } catch (const Lost&) {
      return Status(Code::kEnded, "lost");
    }
  });
}

// The others wait for it as long as the recipe says, and what they have trained is on their disks.
TEST(Recovery, WhoWaitsInVainSavesWhatItHas) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Status status =
      run_that_is_left(small.recipe({"link.rejoin_seconds=1", "training.steps=100000"}), folder);
  EXPECT_FALSE(status.is_ok());
  const auto saved = [&](int stage) {
    int64_t latest = 0;
    if (!fs::exists(folder + "/checkpoints")) return latest;
    for (const auto& step : fs::directory_iterator(folder + "/checkpoints")) {
      if (!fs::exists(step.path() / fmt::format("stage-{}.json", stage))) continue;
      latest = std::max(latest, int64_t{std::stol(step.path().filename().string().substr(5))});
    }
    return latest;
  };
  EXPECT_EQ(saved(0), 4);  // it had decided on it
  EXPECT_EQ(saved(2), 3);
  EXPECT_EQ(saved(3), 3);
}

TEST(Recovery, WhoCannotSaveTellsWhyItLeavesToo) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run", disk = small.folder() + "/disk";
  std::ofstream(disk) << "in the way";
  (void)run_that_is_left(small.recipe({"link.rejoin_seconds=1", "training.steps=100000",
                                       "checkpoint.folder=\"" + disk + "/checkpoints\""}),
                         folder);
  std::ifstream note(folder + "/logs/stage-0.failure.json");
  const auto said = nlohmann::json::parse(note).at("what").get<std::string>();
  EXPECT_NE(said.find("stage 1 did not connect in time"), std::string::npos) << said;
  EXPECT_NE(said.find("step 4 could not be saved"), std::string::npos) << said;
}

// It must not take the others back to the start: they have what it lacks, in vain, and its user may
// find the disk again.
TEST(Recovery, AStageThatHasLostItsCheckpointsEndsTheRunAndNothingElse) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Status status =
      broken_run(small.recipe({"link.rejoin_seconds=20", "checkpoint.interval=1"}), folder,
                 {.step = 5, .new_machine = small.folder() + "/elsewhere"});
  EXPECT_EQ(status.code(), Code::kRefused) << status.to_string();
  EXPECT_NE(status.message().find("checkpoints of a stage are gone"), std::string::npos)
      << status.message();
  EXPECT_EQ(json_lines(folder + "/metrics.jsonl").size(), 5u);
  EXPECT_TRUE(fs::exists(folder + "/checkpoints/step-4/stage-3.json"));
}

// Stage 1 goes for good, on a machine of its own, when it has come to the end. Whether it has saved
// that, the others cannot know.
Status run_that_is_left_at_its_end(Recipe recipe, const std::string& folder,
                                   const std::string& folder_of_1) {
  const LocalEndpoints endpoints(4);
  recipe.link.stages = endpoints.peers();
  create_run_folder(recipe, folder);
  if (folder_of_1 != folder) create_run_folder(recipe, folder_of_1);
  link::ZmqContext context;
  StageGroup group(recipe);
  return group.run([&](int stage, Assembly& assembly, Trainer& trainer) {
    int num_offers = 0;  // the first is that of the start
    const auto open = [&](double seconds) -> Result<StageLinks> {
      if (stage == 1 && num_offers > 1) throw Lost();
      auto links =
          open_links(recipe, stage, limits_of(recipe, assembly), context, {.seconds = seconds});
      if (stage == 1 && links.is_ok()) {
        auto& prev = links.value().prev;
        prev = std::make_unique<link::CutLink>(std::move(prev), [&](const link::Frame& frame) {
          return frame.header.kind == link::Kind::kOffer && ++num_offers > 1;
        });
      }
      return links;
    };
    try {
      return run_stage(recipe, stage, assembly, trainer,
                       {.folder = stage == 1 ? folder_of_1 : folder, .open_links = open});
    } catch (const Lost&) {
      return Status::ok();
    }
  });
}

TEST(Recovery, AnEndThatNotAllMayHaveSavedIsToldAsAnError) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"link.rejoin_seconds=3"});
  const std::string folder = small.folder() + "/run";
  const Status apart = run_that_is_left_at_its_end(recipe, folder, small.folder() + "/elsewhere");
  EXPECT_NE(apart.message().find("start all stages again"), std::string::npos) << apart.to_string();
  const std::string shared = small.folder() + "/shared";
  const Status together = run_that_is_left_at_its_end(recipe, shared, shared);
  EXPECT_TRUE(together.is_ok()) << together.to_string();
}

TEST(Recovery, AStageWithoutItsDiskGoesOnFromItsNeighboursMemory) {
  const SmallRun small;
  const std::string expected = small.folder() + "/expected", folder = small.folder() + "/run";
  // All stages save into one folder at the end, and none before.
  const auto recipe = [&](const std::string& root) {
    return small.recipe({"validation.interval=3", "link.rejoin_seconds=20",
                         "checkpoint.folder=\"" + root + "/checkpoints\"",
                         "checkpoint.mirror_interval=1"});
  };
  ASSERT_TRUE(run_all(recipe(expected), expected).is_ok());
  const Status status =
      broken_run(recipe(folder), folder, {.step = 4, .new_machine = small.folder() + "/elsewhere"});
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(difference(folder, expected), "");
  EXPECT_EQ(json_lines(folder + "/events.jsonl").back()["step"], 4);
}

}  // namespace
}  // namespace mapl::train
