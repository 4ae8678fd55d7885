#include "codec/packing.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>

#include "codec/packing_values.h"

namespace mapl::codec {
namespace {

TEST(Packing, EveryIdHasADecoderThatAnswersToThatId) {
  for (const std::string& name : packing_names()) {
    const PackingId id = make_packing(name, {})->id();
    const auto decoder = make_packing(id, {});
    ASSERT_NE(decoder, nullptr) << name;
    EXPECT_EQ(decoder->id(), id) << name;
  }
  // rvq begins as bf16, and answers to its own id once it has codebooks (packing_rvq_test.cpp).
  EXPECT_NE(make_packing(PackingId::kRvq, {}), nullptr);
  EXPECT_EQ(packing_names().size(), 8U);  // a new packing also goes into docs/codecs/packings.md
}

TEST(Packing, UnknownIdsHaveNoDecoder) {
  for (int id : {0, 9, 255}) EXPECT_EQ(make_packing(static_cast<PackingId>(id), {}), nullptr);
}

TEST(Packing, AnUnknownNameIsRefusedWithTheKnownOnes) {
  try {
    make_packing("fp4", {});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "unknown packing \"fp4\"; known: f32, bf16, int8, int6, int5, int4, topk, rvq");
  }
}

TEST(Packing, AGroupSizeBelowOneIsRefused) {
  EXPECT_THROW(make_packing("int8", {.group_size = 0}), UserError);
}

// Each place of a row of 70 holds the bad value once: vector bodies and their tails both look.
TEST(Packing, ValuesThatAreNotFiniteAreRefusedByName) {
  for (const std::string& name : packing_names()) {
    for (Leg leg : {Leg::kActivation, Leg::kGradient}) {
      const auto packing = make_packing(name, {.leg = leg});
      for (float bad :
           {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
            std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        for (int column = 0; column < 70; ++column) {
          at::Tensor x = torch::ones({2, 70});
          x[1][column] = bad;
          EXPECT_THROW(packing->pack(x, {}), RunError) << name << " " << column;
        }
      }
    }
  }
  try {
    make_packing("f32", {})->pack(torch::full({1, 1}, NAN),
                                  {.step = 7, .micro_batch = 1, .boundary = 2});
    FAIL();
  } catch (const RunError& error) {
    EXPECT_NE(std::string(error.what())
                  .find("boundary 2, step 7, micro-batch 1: a value to be sent is not finite; "
                        "lower the learning rates or set training.max_norm"),
              std::string::npos)
        << error.what();
  }
}

TEST(Packing, AnyLayoutOfTheInputGivesTheSameBytes) {
  const at::Tensor x = torch::randn({6, 10});
  for (const std::string& name : packing_names()) {
    const auto packing = make_packing(name, {});
    EXPECT_EQ(packing->pack(x, {}), packing->pack(x.t().contiguous().t(), {})) << name;
  }
}

TEST(Packing, NoRowsTakeNoBytes) {
  for (const std::string& name : packing_names()) {
    const auto packing = make_packing(name, {});
    EXPECT_TRUE(packing->pack(torch::empty({0, 8}), {}).empty());
    EXPECT_TRUE(packing->unpack({}, 0, 8, {}).is_ok());
  }
}

}  // namespace
}  // namespace mapl::codec
