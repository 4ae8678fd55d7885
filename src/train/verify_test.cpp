#include "train/verify.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "link/c10d.h"
#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

// On the CPU, and on a GPU where there is one.
void expect_equal(const SmallRun& run, std::vector<std::string> overrides) {
  std::vector<std::string> devices = {"cpu"};
  if (at::hasCUDA()) devices.emplace_back("cuda");
  for (const std::string& device : devices) {
    overrides.push_back("training.device=" + device);
    const Verification result = verify(run.recipe(overrides), 4);
    EXPECT_GT(result.tensors, 100);
    std::string all;
    for (const std::string& text : overrides) all += text + " ";
    for (const auto& difference : result.differences) {
      ADD_FAILURE() << all << difference.what << " differs by " << difference.largest;
    }
  }
}

// The judge of design.md: P stages, whatever the schedule and the link, are the unsplit model.
TEST(Verify, EveryPipelineIsTheUnsplitModelBitForBit) {
  const SmallRun run;
  std::vector<std::string> links = {"inproc", "zmq"};
  if (link::has_c10d()) links.emplace_back("c10d");
  for (const std::string& link : links) {
    for (const char* stages : {"2", "4", "8"}) {
      for (const char* schedule : {"gpipe", "1f1b"}) {
        const std::vector<std::string> overrides = {"boundary.projector=identity",
                                                    "boundary.anchor=none",
                                                    "boundary.activation=f32",
                                                    "boundary.gradient=f32",
                                                    "training.max_norm=0.5",
                                                    "link.kind=" + link,
                                                    std::string("pipeline.stages=") + stages,
                                                    std::string("pipeline.schedule=") + schedule};
        expect_equal(run, overrides);
        EXPECT_TRUE(verify(run.recipe(overrides), 1).unsplit);
      }
    }
  }
}

TEST(Verify, EveryCodecIsTheSameAppliedInPlace) {
  const SmallRun run;
  for (const char* projector : {"identity", "frozen", "free", "stiefel", "bottleneck"}) {
    for (const char* anchor : {"none", "static", "factorized", "full"}) {
      for (const char* packing : {"f32", "bf16", "int8", "int6", "int4", "topk", "rvq"}) {
        expect_equal(run, {std::string("boundary.projector=") + projector,
                           std::string("boundary.anchor=") + anchor,
                           std::string("boundary.activation=") + packing,
                           std::string("boundary.gradient=") + packing, "boundary.topk=3",
                           "boundary.rvq_group_size=2", "boundary.rvq_entries=8",
                           "boundary.rvq_warmup_steps=2"});
      }
    }
  }
}

TEST(Verify, SharedAnchorsTiedHeadsUnequalStagesAndDeepWarmUpToo) {
  const SmallRun run;
  expect_equal(run, {"boundary.method=topk", "boundary.topk_feedback=true"});
  expect_equal(run, {"boundary.method=ssn", "training.max_norm=0.1"});
  expect_equal(run, {"boundary.method=reparam-ssn", "training.max_norm=0.1"});
  expect_equal(run, {"boundary.ngram=3", "boundary.ngram_entries=50", "training.max_norm=0.1"});
  expect_equal(run, {"boundary.sparse_anchors=true", "boundary.anchor=full"});
  expect_equal(run, {"boundary.method=mapl-int4", "boundary.group_size=4"});
  expect_equal(run, {"boundary.anchor_sharing=stage"});
  for (const char* method : {"mapl", "ssn", "quantised", "mapl-vq"}) {
    expect_equal(run, {std::string("boundary.method=") + method, "boundary.subtract_mean=true",
                       "boundary.rvq_group_size=2", "boundary.rvq_warmup_steps=2"});
  }
  expect_equal(run, {"boundary.first_anchor=embedding", "training.max_norm=0.1"});
  expect_equal(run, {"boundary.first_anchor=fixed", "boundary.anchor_sharing=stage"});
  expect_equal(run, {"boundary.basis_restart=2", "boundary.basis_gradient=sender"});
  expect_equal(run, {"boundary.basis_interval=2", "training.max_norm=0.1"});
  expect_equal(run, {"boundary.basis_interval=3", "boundary.basis_restart=2"});
  expect_equal(run, {"boundary.basis_restart=2", "boundary.projector=frozen"});
  expect_equal(run, {"boundary.method=mapl-vq", "boundary.rvq_group_size=2",
                     "boundary.rvq_warmup_steps=3", "boundary.basis_restart=2"});
  expect_equal(run, {"model.tie_word_embeddings=true"});
  expect_equal(run, {"model.tie_word_embeddings=true", "boundary.method=uncompressed",
                     "boundary.activation=f32", "boundary.gradient=f32", "training.max_norm=0.1"});
  expect_equal(run, {"pipeline.layers_per_stage=[3,1,1,3]"});
  expect_equal(run, {"pipeline.in_flight=4"});
  expect_equal(run, {"model.num_key_value_heads=1", "pipeline.stages=3"});
  expect_equal(run,
               {"training.microbatch_size=8", "validation.num_sequences=8"});  // fewer than stages
}

// Or what is said of codes would have been seen of bf16.
TEST(Verify, CodesThatWouldNotCrossAreRefused) {
  const SmallRun run;
  const Recipe recipe = run.recipe(
      {"boundary.method=mapl-vq", "boundary.rvq_group_size=2", "boundary.rvq_warmup_steps=4"});
  try {
    verify(recipe, 4);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what())
                  .find("boundary.rvq_warmup_steps = 4 is not over within "
                        "the 4 steps"),
              std::string::npos)
        << error.what();
  }
}

TEST(Verify, ADifferenceIsSeen) {
  const SmallRun run;
  Recipe recipe = run.recipe({"boundary.projector=identity", "boundary.anchor=none",
                              "boundary.activation=bf16", "boundary.gradient=f32"});
  // The codec rounds, so the judge of another recipe must not agree with it.
  Recipe exact = recipe;
  exact.boundary.activation = "f32";
  EXPECT_NE(verify(recipe, 2).losses, verify(exact, 2).losses);
}

}  // namespace
}  // namespace mapl::train
