#include "train/run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/log.h"
#include "checkpoint/manifest.h"
#include "link/cut_link_for_test.h"
#include "train/evaluate.h"
#include "train/run_folder.h"
#include "train/same_run_for_test.h"
#include "train/small_run_for_test.h"
#include "train/stage_group.h"

namespace mapl::train {
namespace {

namespace fs = std::filesystem;

Status run_all(const Recipe& recipe, const std::string& folder, std::stop_token stop = {}) {
  create_run_folder(recipe, folder);
  StageGroup group(recipe);
  return group.run([&](int stage, Assembly& assembly, Trainer& trainer) {
    return run_stage(recipe, stage, assembly, trainer, {.folder = folder, .stop = stop});
  });
}

nlohmann::json summary_of(const std::string& folder) {
  return nlohmann::json::parse(std::ifstream(folder + "/summary.json"));
}

TEST(Run, LeavesTheFolderThatTheDesignPromises) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"validation.interval=2", "checkpoint.interval=2"});
  const std::string folder = small.folder() + "/run";
  const Status status = run_all(recipe, folder);
  ASSERT_TRUE(status.is_ok()) << status.to_string();

  EXPECT_EQ(diff(load_recipe(folder + "/recipe.toml"), recipe), "");
  const auto lines = json_lines(folder + "/metrics.jsonl");
  ASSERT_EQ(lines.size(), 6u);
  for (const char* key : {"step",
                          "loss",
                          "grad_norm",
                          "grad_norm_stage_3",
                          "tokens",
                          "tokens_per_second",
                          "step_seconds",
                          "activation_bytes",
                          "gradient_bytes",
                          "token_id_bytes",
                          "sync_bytes",
                          "header_bytes",
                          "energy_kept_0",
                          "energy_kept_2",
                          "basis_angle_1",
                          "basis_angle_2",
                          "orthogonality_error",
                          "bubble_fraction",
                          "lr",
                          "_timestamp"}) {
    EXPECT_TRUE(lines[0].contains(key)) << key;
  }
  EXPECT_FALSE(lines[0].contains("validation_loss"));
  EXPECT_FALSE(lines[0].contains("basis_angle_0"));  // one boundary has no angle
  EXPECT_FALSE(lines[0].contains("activation_usage_0"));
  EXPECT_TRUE(lines[1].contains("validation_loss"));
  // The global norm is that of its parts.
  double squared = 0;
  for (int k = 0; k < 4; ++k) {
    squared += std::pow(lines[2]["grad_norm_stage_" + std::to_string(k)].get<double>(), 2);
  }
  EXPECT_NEAR(lines[2]["grad_norm"].get<double>(), std::sqrt(squared), 1e-9 * std::sqrt(squared));

  const auto summary = summary_of(folder);
  EXPECT_EQ(summary["steps"], 6);
  EXPECT_EQ(summary["tokens"], 6 * 8 * 8);
  EXPECT_EQ(summary["validation_loss"], lines[5]["validation_loss"]);
  EXPECT_EQ(summary["peak_rss_bytes"].size(), 4u);
  EXPECT_LE(summary["orthogonality_error_max"].get<double>(), 1e-6);
  EXPECT_EQ(checkpoint::latest_checkpoint(folder + "/checkpoints"), folder + "/checkpoints/step-6");
}

// Every byte, from sizes alone: what crosses is what is declared.
TEST(Run, CountsWhatCrossesToTheByte) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(small.recipe(), folder).is_ok());
  const auto summary = summary_of(folder);
  const int64_t boundaries = 3, steps = 6, micro_batches = 4, rows = 2 * 8, rank = 4, d = 16;
  const int64_t messages = boundaries * steps * micro_batches;
  EXPECT_EQ(summary["activation_bytes"], messages * rows * rank * 2);
  EXPECT_EQ(summary["gradient_bytes"], messages * rows * rank * 2);
  EXPECT_EQ(summary["token_id_bytes"], messages * ((2 * 9 * 7 + 7) / 8));
  const int64_t votes = 3 * 32 + (1 + 2 + 3) * 120;
  EXPECT_EQ(summary["sync_bytes"], steps * (votes + boundaries * (24 + 2 * d * rank * 4)) +
                                       boundaries * (d * rank * 4 + 8 + 40));  // the start
  EXPECT_EQ(summary["header_bytes"], 48 * (2 * messages + boundaries * (steps * 4 + 3)));
  const double full = 2.0 * boundaries * steps * 64 * d * 2;
  const double all = summary["activation_bytes"].get<double>() +
                     summary["gradient_bytes"].get<double>() +
                     summary["token_id_bytes"].get<double>() + summary["sync_bytes"].get<double>() +
                     summary["header_bytes"].get<double>();
  EXPECT_DOUBLE_EQ(summary["compression_ratio"], full / all);
}

// The least share of the energy that any boundary keeps at any step of a run.
double least_energy_kept(const std::vector<std::string>& overrides) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  EXPECT_TRUE(run_all(small.recipe(overrides), folder).is_ok());
  double least = 1;
  for (const auto& line : json_lines(folder + "/metrics.jsonl")) {
    for (const char* key : {"energy_kept_0", "energy_kept_1", "energy_kept_2"}) {
      least = std::min(least, line[key].get<double>());
    }
  }
  return least;
}

// All that crosses lies in the subspace, after any number of steps; float32 sums of 16 terms.
TEST(Run, ASubspaceLosesNothingAtTheBoundary) {
  const std::vector<std::string> tables = {"boundary.anchor=full", "boundary.ngram=2",
                                           "boundary.ngram_entries=64"};
  for (const char* method : {"ssn", "reparam-ssn"}) {
    std::vector<std::string> overrides = {std::string("boundary.method=") + method};
    EXPECT_GT(least_energy_kept(overrides), 1 - 1e-5) << method;
    overrides.insert(overrides.end(), tables.begin(), tables.end());
    overrides.emplace_back("boundary.anchor_sharing=stage");
    EXPECT_GT(least_energy_kept(overrides), 1 - 1e-5) << method << " with trained tables";
  }
  EXPECT_LT(least_energy_kept({"boundary.method=frozen"}), 0.9) << "so that the test can tell";
}

TEST(Run, CodebooksAreSavedAndEvaluationDecodesWithThem) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"boundary.method=mapl-vq", "boundary.rvq_group_size=2",
                                      "boundary.rvq_entries=8", "boundary.rvq_warmup_steps=2"});
  const std::string folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(recipe, folder).is_ok());
  const auto last = json_lines(folder + "/metrics.jsonl").back();
  for (const char* key : {"activation_usage_0", "activation_usage_2"}) {
    EXPECT_GT(last[key].get<double>(), 1.0 / 8) << key;
    EXPECT_LE(last[key].get<double>(), 1.0) << key;
  }
  EXPECT_FALSE(last.contains("gradient_usage_0"));  // bf16 goes back
  const auto evaluation = evaluate(recipe, load_weights(folder), folder);
  EXPECT_EQ(evaluation.loss, summary_of(folder)["validation_loss"].get<double>());
}

TEST(Run, TheSameRecipeGivesTheSameRun) {
  const SmallRun small;
  ASSERT_TRUE(run_all(small.recipe(), small.folder() + "/a").is_ok());
  ASSERT_TRUE(run_all(small.recipe({"link.kind=zmq"}), small.folder() + "/b").is_ok());
  const auto a = json_lines(small.folder() + "/a/metrics.jsonl");
  const auto b = json_lines(small.folder() + "/b/metrics.jsonl");
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i]["loss"], b[i]["loss"]);
}

TEST(Run, AskedToStopItEndsAfterTheStepWithEverythingSaved) {
  const SmallRun small;
  std::stop_source stop;
  stop.request_stop();
  const std::string folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(small.recipe(), folder, stop.get_token()).is_ok());
  EXPECT_EQ(summary_of(folder)["steps"], 1);
  EXPECT_TRUE(checkpoint::latest_checkpoint(folder + "/checkpoints").has_value());
}

TEST(Run, EvaluationGivesTheLossOfTheRun) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(small.recipe(), folder).is_ok());
  const auto result = evaluate(small.recipe(), load_weights(folder), folder);
  EXPECT_EQ(result.loss, summary_of(folder)["validation_loss"].get<double>());
}

TEST(Run, WeightsStartARunAtAnyNumberOfStages) {
  const SmallRun small;
  const std::vector<std::string> plain = {"boundary.method=uncompressed", "boundary.activation=f32",
                                          "boundary.gradient=f32"};
  const std::string folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(small.recipe(plain), folder).is_ok());
  const double expected = summary_of(folder)["validation_loss"];
  for (const char* stages : {"1", "2", "8"}) {
    auto overrides = plain;
    overrides.push_back(std::string("pipeline.stages=") + stages);
    EXPECT_EQ(evaluate(small.recipe(overrides), load_weights(folder), folder).loss, expected);
    overrides.push_back("training.init_from=\"" + folder + "\"");
    const std::string next = small.folder() + "/from-" + stages;
    ASSERT_TRUE(run_all(small.recipe(overrides), next).is_ok());
    EXPECT_LT(json_lines(next + "/metrics.jsonl")[0]["loss"].get<double>(),
              json_lines(folder + "/metrics.jsonl")[0]["loss"].get<double>());
  }
}

TEST(Run, WeightsOfAnotherModelAreRefused) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(small.recipe(), folder).is_ok());
  EXPECT_THROW(evaluate(small.recipe({"model.intermediate_size=32"}), load_weights(folder), folder),
               UserError);
  EXPECT_THROW(evaluate(small.recipe({"model.num_hidden_layers=9"}), load_weights(folder), folder),
               UserError);
  EXPECT_THROW((void)load_weights(small.folder() + "/nothing"), UserError);
}

// What happens to a run when stage 0's decision on a step leaves: its link breaks.
struct Breach {
  uint64_t step = 0;
  int num_refusals = 0;     // stage 0 is so often refused before it is let in again
  std::string new_machine;  // stage 1 is lost with all it had, and begins anew in this folder
};

Status broken_run(Recipe recipe, const std::string& folder, Breach breach) {
  const LocalEndpoints endpoints(4);
  recipe.link.stages = endpoints.peers();
  create_run_folder(recipe, folder);
  link::ZmqContext context;
  bool is_broken = false;
  StageGroup group(recipe);
  const Status status = group.run([&](int stage, Assembly& assembly, Trainer& trainer) {
    bool is_lost = false;
    const auto open = [&](double seconds) -> Result<StageLinks> {
      if (is_lost) return Status(Code::kRefused, "lost");
      is_lost = stage == 1 && !breach.new_machine.empty();
      if (stage == 0 && is_broken && breach.num_refusals-- > 0) {
        return Status(Code::kRefused, "altered");
      }
      auto links =
          open_links(recipe, stage, limits_of(recipe, assembly), context, {.seconds = seconds});
      if (stage == 0 && links.is_ok()) {
        auto& next = links.value().next;
        next = std::make_unique<link::CutLink>(std::move(next), [&](const link::Frame& frame) {
          const bool breaks = !is_broken && frame.header.kind == link::Kind::kCommit &&
                              frame.header.step == breach.step;
          is_broken |= breaks;
          return breaks;
        });
      }
      return links;
    };
    const Status ended =
        run_stage(recipe, stage, assembly, trainer, {.folder = folder, .open_links = open});
    if (!is_lost) return ended;
    is_lost = false;
    fs::create_directories(breach.new_machine);
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
TEST(Run, ADecisionThatDidNotLeaveIsLogged) {
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
TEST(Run, ARefusalAfterTheStartIsNotTheEnd) {
  const SmallRun small;
  const Status status = broken_run(small.recipe({"link.rejoin_seconds=20"}),
                                   small.folder() + "/run", {.step = 2, .num_refusals = 2});
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

TEST(Run, AStageWithoutItsDiskGoesOnFromItsNeighboursMemory) {
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
