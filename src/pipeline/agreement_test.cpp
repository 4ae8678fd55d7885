#include "pipeline/agreement.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "link/inproc.h"

namespace mapl::pipeline {
namespace {

Resume as_is(uint64_t finished) {
  return {.finished = finished, .validates = true, .commit = {.squared_norm = 4, .loss = 2}};
}

// Stages in a row, each with its offer; what each is told. Stage 0 alone knows how the step was
// decided.
std::vector<Result<Resume>> agreed(const std::vector<Steps>& offers) {
  const size_t count = offers.size();
  std::vector<std::unique_ptr<link::Link>> links;
  std::vector<std::unique_ptr<Channel>> prev(count), next(count);
  for (size_t k = 0; k + 1 < count; ++k) {
    auto [a, b] =
        link::make_inproc_pair({.max_payload_bytes = 1 << 16}, {.max_payload_bytes = 1 << 16});
    next[k] = std::make_unique<Channel>(*a, Channel::Options{.timeout_seconds = 20});
    prev[k + 1] = std::make_unique<Channel>(*b, Channel::Options{.timeout_seconds = 20});
    links.push_back(std::move(a));
    links.push_back(std::move(b));
  }
  std::vector<std::optional<Result<Resume>>> results(count);
  {
    std::vector<std::jthread> threads;
    for (size_t k = 0; k < count; ++k) {
      threads.emplace_back([&, k] {
        const auto step = agree(prev[k].get(), next[k].get(), offers[k]);
        results[k] = step.is_ok() ? pass_on(prev[k].get(), next[k].get(), step.value(),
                                            k == 0 ? as_is(step.value()) : Resume())
                                  : Result<Resume>(step.status());
        if (results[k]->is_ok()) return;
        for (Channel* channel : {prev[k].get(), next[k].get()}) {
          if (channel != nullptr) channel->abort(0, results[k]->status().message(), true);
        }
      });
    }
  }
  std::vector<Result<Resume>> all;
  for (auto& result : results) all.push_back(*result);
  return all;
}

TEST(Agreement, IsTheLatestStepThatAllOffer) {
  for (const auto& result : agreed({{7, 0, 5, 8}, {8, 7, 5}, {5, 7, 7, 6}})) {
    ASSERT_TRUE(result.is_ok()) << result.status().to_string();
    EXPECT_EQ(result.value().finished, 7U);
    EXPECT_TRUE(result.value().validates);
    EXPECT_EQ(result.value().commit.loss, 2);
  }
  EXPECT_EQ(agreed({{3, 4}})[0].value().finished, 4U);
}

TEST(Agreement, WithoutACommonStepStageZeroRefuses) {
  const auto results = agreed({{7}, {8, 7}, {8}});
  EXPECT_EQ(results[0].status().code(), Code::kRefused);
  EXPECT_EQ(results[1].status().code(), Code::kEnded);
  EXPECT_EQ(results[2].status().code(), Code::kEnded);
}

TEST(Agreement, AResumeFromAnotherStepIsRefused) {
  EXPECT_EQ(pass_on(nullptr, nullptr, 7, as_is(8)).status().code(), Code::kCorrupt);
}

TEST(Agreement, WhatCannotBeIsRefused) {
  EXPECT_FALSE(decode_offer(Bytes(9)).is_ok());
  EXPECT_FALSE(decode_offer(Bytes(static_cast<size_t>(kMaxOfferBytes) + 8)).is_ok());
  EXPECT_FALSE(decode_offer(encode_offer({4, 4})).is_ok());
  EXPECT_FALSE(decode_offer(encode_offer({4, 3})).is_ok());
  EXPECT_EQ(decode_offer(encode_offer({3, 4})).value(), (Steps{3, 4}));
  EXPECT_FALSE(decode_resume(Bytes(static_cast<size_t>(kResumeBytes) - 1)).is_ok());
}

TEST(Agreement, OfMoreStepsThanFitTheLatestCount) {
  Steps many;
  for (uint64_t step = 0; step < kMaxOffers + 10; ++step) many.push_back(step);
  EXPECT_EQ(agreed({many, many})[1].value().finished, kMaxOffers + 9U);
}

}  // namespace
}  // namespace mapl::pipeline
