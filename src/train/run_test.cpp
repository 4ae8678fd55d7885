#include "train/run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "checkpoint/manifest.h"
#include "train/evaluate.h"
#include "train/run_all_for_test.h"
#include "train/same_run_for_test.h"
#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

namespace fs = std::filesystem;

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
  // At each of 3 boundaries a basis and a table at each end.
  const int64_t layer = 4 * 16 * 16 + 3 * 16 * 24 + 2 * 16;
  EXPECT_EQ(summary["parameters"], 8 * layer + 2 * 97 * 16 + 16 + 3 * (16 * 4 + 2 * 97 * 4));
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
  const int64_t votes = 3 * 32 + (1 + 2 + 3) * 144;
  EXPECT_EQ(summary["sync_bytes"], steps * (votes + boundaries * (24 + 2 * d * rank * 4)) +
                                       boundaries * (d * rank * 4 + 8 + 8 + 40));  // the start
  EXPECT_EQ(summary["header_bytes"], 48 * (2 * messages + boundaries * (steps * 4 + 4)));
  const double full = 2.0 * boundaries * steps * 64 * d * 2;
  const double all = summary["activation_bytes"].get<double>() +
                     summary["gradient_bytes"].get<double>() +
                     summary["token_id_bytes"].get<double>() + summary["sync_bytes"].get<double>() +
                     summary["header_bytes"].get<double>();
  EXPECT_DOUBLE_EQ(summary["compression_ratio"], full / all);
}

// The least share of the energy that any boundary keeps at any step of a run.
double least_energy_in(const std::string& folder) {
  double least = 1;
  for (const auto& line : json_lines(folder + "/metrics.jsonl")) {
    for (const char* key : {"energy_kept_0", "energy_kept_1", "energy_kept_2"}) {
      least = std::min(least, line[key].get<double>());
    }
  }
  return least;
}

double least_energy_kept(const std::vector<std::string>& overrides) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  EXPECT_TRUE(run_all(small.recipe(overrides), folder).is_ok());
  return least_energy_in(folder);
}

// Through both ends, as a run leaves them. 1e-6: some roundings of float32.
TEST(Run, WhatASubspaceSendsIsWhatArrives) {
  const SmallRun small;
  const auto error = [&](const std::string& method) {
    const Recipe recipe = small.recipe({"boundary.method=" + method, "boundary.activation=f32"});
    const std::string folder = small.folder() + "/" + method;
    EXPECT_TRUE(run_all(recipe, folder).is_ok());
    const auto weights = load_weights(folder);
    Assembly first(recipe, 0), second(recipe, 1);
    (void)first.load(weights);
    (void)second.load(weights);
    const torch::NoGradGuard no_grad;
    const pipeline::MicroBatchShape shape = micro_batch_shape(recipe);
    const at::Tensor ids = torch::arange(shape.rows()).fmod(recipe.model.vocab_size);
    const at::Tensor x_ND = first.stage().forward(ids.view({shape.batch, shape.sequence_length}),
                                                  shape.batch, shape.sequence_length);
    const Bytes payload = first.next_end()->pack(first.next_end()->project(x_ND, ids), {});
    const auto z_NR = second.prev_end()->unpack(payload, shape.rows(), {});
    const at::Tensor back_ND = second.prev_end()->restore(z_NR.value(), ids);
    return ((back_ND - x_ND).norm() / x_ND.norm()).item<double>();
  };
  for (const char* method : {"ssn", "reparam-ssn"}) EXPECT_LT(error(method), 1e-6) << method;
  EXPECT_GT(error("frozen"), 0.1) << "so that the test can tell";
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
  EXPECT_GT(last["activation_error_2"].get<double>(), 0);
  EXPECT_LT(last["activation_error_2"].get<double>(), 1);
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

// The last checkpoint of a run of half as many steps, gone on with.
std::string resumed(const SmallRun& small, const std::string& name, std::vector<std::string> sets,
                    const std::vector<std::string>& changed = {}) {
  const std::string folder = small.folder() + "/" + name;
  std::vector<std::string> half = sets;
  half.push_back("training.steps=3");
  EXPECT_TRUE(run_all(small.recipe(half), folder).is_ok());
  sets.insert(sets.end(), changed.begin(), changed.end());
  const Recipe recipe = small.recipe(sets);
  resume_run_folder(recipe, folder);
  const Status status = run_there(recipe, folder);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  return folder;
}

TEST(Run, WhatWasResumedIsWhatDidNotStop) {
  const SmallRun small;
  for (const char* method : {"mapl", "ssn", "reparam-ssn", "resbm", "mapl-vq", "free"}) {
    const std::vector<std::string> sets = {std::string("boundary.method=") + method,
                                           "training.decay=\"none\"",
                                           "validation.interval=3",
                                           "boundary.rvq_warmup_steps=2",
                                           "boundary.rvq_group_size=2",
                                           "boundary.rvq_entries=8"};
    const std::string expected = small.folder() + "/whole-" + method;
    ASSERT_TRUE(run_all(small.recipe(sets), expected).is_ok());
    EXPECT_EQ(difference(resumed(small, method, sets), expected), "") << method;
    // And evaluated as it was trained.
    EXPECT_EQ(evaluate(small.recipe(sets), load_weights(expected), expected).loss,
              summary_of(expected)["validation_loss"].get<double>())
        << method;
  }
}

void alter(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file) << path;
  file.seekp(-1, std::ios::end);
  const int last = file.peek();
  file.seekp(-1, std::ios::end);
  file.put(static_cast<char>(last ^ 1));
}

TEST(Run, AnAlteredCheckpointIsPassedOverForTheOneBefore) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"checkpoint.interval=2"});
  const std::string expected = small.folder() + "/expected", folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(recipe, expected).is_ok());
  std::filesystem::copy(expected, folder, std::filesystem::copy_options::recursive);
  std::filesystem::remove(folder + "/summary.json");
  alter(folder + "/checkpoints/step-6/stage-2.safetensors");

  const auto step_4 = checkpoint::load_checkpoint(folder + "/checkpoints/step-4").tensors;
  const auto latest = load_weights(folder);
  ASSERT_EQ(latest.size(), step_4.size());
  for (size_t i = 0; i < latest.size(); ++i) EXPECT_TRUE(latest[i].second.equal(step_4[i].second));

  resume_run_folder(recipe, folder);
  const Status status = run_there(recipe, folder);
  EXPECT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_EQ(json_lines(folder + "/events.jsonl").back()["step"], 4);
  EXPECT_EQ(difference(folder, expected), "");
}

// What the old boundary announced at the end of its last step is no concern of the new one.
TEST(Run, GoesOnWithAnotherMethodAtTheBoundary) {
  const SmallRun small;
  const std::string folder =
      resumed(small, "run", {"boundary.method=mapl"}, {"boundary.method=uncompressed"});
  EXPECT_EQ(json_lines(folder + "/metrics.jsonl").size(), 6u);
}

// From weights that were held in the subspace of another seed, in that subspace.
TEST(Run, WeightsOfASubspaceGoOnUnderAnotherSeed) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run", other = small.folder() + "/other";
  const std::vector<std::string> ssn = {"boundary.method=ssn"};
  ASSERT_TRUE(run_all(small.recipe(ssn), folder).is_ok());
  const Recipe again = small.recipe({"boundary.method=ssn", "training.seed=5", "training.steps=1",
                                     "training.init_from=\"" + folder + "\"", "optimizer.muon_lr=0",
                                     "optimizer.adamw_lr=0"});
  ASSERT_TRUE(run_all(again, other).is_ok());
  // Nothing has moved, and nothing was lost but roundings.
  EXPECT_NEAR(summary_of(other)["validation_loss"].get<double>(),
              summary_of(folder)["validation_loss"].get<double>(), 1e-5);
  EXPECT_GT(least_energy_in(other), 1 - 1e-5);
  // Bases of boundaries that each learned their own are no subspace.
  const std::string mapl = small.folder() + "/mapl";
  ASSERT_TRUE(run_all(small.recipe(), mapl).is_ok());
  EXPECT_THROW(
      (void)run_all(small.recipe({"boundary.method=ssn", "training.init_from=\"" + mapl + "\""}),
                    small.folder() + "/mixed"),
      UserError);
}

// What a run has gathered to start its basis again from is not its weights'.
TEST(Run, ARunFromWeightsStartsItsBasisAgainInItsOwnTime) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Recipe recipe = small.recipe({"boundary.basis_restart=2"});
  ASSERT_TRUE(run_all(recipe, folder).is_ok());
  const auto weights = load_weights(folder);
  const auto restarted = [](const math::NamedTensors& tensors) {
    for (const auto& [name, value] : tensors) {
      if (name.ends_with("sender.restarted")) return value.item<int64_t>();
    }
    return int64_t{-1};
  };
  EXPECT_EQ(restarted(weights), 1);
  Assembly assembly(recipe, 0);
  start_from(weights, folder, 0, assembly);
  EXPECT_EQ(restarted(assembly.state()), 0);
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

}  // namespace
}  // namespace mapl::train
