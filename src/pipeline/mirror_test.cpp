#include "pipeline/mirror.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <optional>
#include <thread>

#include "base/rng.h"
#include "link/inproc.h"

namespace mapl::pipeline {
namespace {

constexpr int64_t kMaxBytes = 3 * kStatePieceBytes;

// More than two pieces, one, exactly one, nothing: by stage.
Bytes state_of(int stage, uint64_t finished) {
  constexpr size_t kSizes[] = {2 * kStatePieceBytes + 5, 1000, kStatePieceBytes, 0};
  Bytes bytes(kSizes[stage % 4]);
  for (size_t i = 0; i < bytes.size(); i += 97) {
    bytes[i] = static_cast<std::byte>(philox(finished, static_cast<uint64_t>(stage), i)[0]);
  }
  return bytes;
}

// Mirrors in a row. Their links queue next to nothing: who sends much waits for who receives.
class Row {
 public:
  explicit Row(int count) : mirrors_(static_cast<size_t>(count)) {
    for (int k = 0; k < count; ++k) lose(k);
    connect();
  }
  int count() const { return static_cast<int>(mirrors_.size()); }
  Mirror& mirror(int stage) { return *mirrors_[static_cast<size_t>(stage)]; }

  // Its process is gone; a new one is there.
  void lose(int stage) {
    mirrors_[static_cast<size_t>(stage)].emplace(Mirror::Options{.stage = stage,
                                                                 .num_stages = count(),
                                                                 .max_prev_bytes = kMaxBytes,
                                                                 .max_own_bytes = kMaxBytes,
                                                                 .max_next_bytes = kMaxBytes});
  }
  void connect() {
    const auto n = mirrors_.size();
    prev_.clear();
    next_.clear();
    prev_.resize(n);
    next_.resize(n);
    links_.clear();
    const link::LinkOptions options{.max_payload_bytes = kStatePieceBytes, .max_queued_bytes = 1};
    for (size_t k = 0; k + 1 < n; ++k) {
      auto [a, b] = link::make_inproc_pair(options, options);
      const auto stage = static_cast<int>(k);
      next_[k] = std::make_unique<Channel>(
          *a, Channel::Options{.stage = stage, .neighbour = stage + 1, .timeout_seconds = 20});
      prev_[k + 1] = std::make_unique<Channel>(
          *b, Channel::Options{.stage = stage + 1, .neighbour = stage, .timeout_seconds = 20});
      links_.push_back(std::move(a));
      links_.push_back(std::move(b));
    }
    for (size_t k = 0; k < n; ++k) mirrors_[k]->connect(prev_[k].get(), next_[k].get());
  }

  // On all stages at once; the statuses.
  template <typename Body>
  std::vector<Status> on_all(const Body& body) {
    std::vector<std::optional<Status>> results(mirrors_.size());
    {
      std::vector<std::jthread> threads;
      for (int k = 0; k < count(); ++k) {
        threads.emplace_back([&, k] {
          auto& result = results[static_cast<size_t>(k)];
          result = body(k, mirror(k));
          if (result->is_ok()) return;
          const auto at = static_cast<size_t>(k);
          for (Channel* channel : {prev_[at].get(), next_[at].get()}) {
            if (channel != nullptr) channel->abort(0, result->message(), /*is_final=*/false);
          }
          hang_up(at);
        });
      }
    }
    std::vector<Status> all;
    for (const auto& result : results) all.push_back(*result);
    return all;
  }
  void exchange(uint64_t finished) {
    for (const Status& status : on_all([&](int stage, Mirror&mirror) {
           return mirror.exchange(finished, state_of(stage, finished));
         })) {
      EXPECT_TRUE(status.is_ok()) << status.to_string();
    }
  }
  // New links, all agree on `finished`, `lost` stands nowhere.
  void recover(uint64_t finished, int lost) {
    connect();
    for (const Status& status : on_all([&](int stage, Mirror&mirror) {
           const Status compared = mirror.compare();
           if (!compared.is_ok()) return compared;
           const Steps steps = mirror.steps();
           EXPECT_NE(std::find(steps.begin(), steps.end(), finished), steps.end()) << stage;
           return mirror.fetch(finished, stage == lost);
         })) {
      EXPECT_TRUE(status.is_ok()) << status.to_string();
    }
  }

 private:
  // links_[2 k] is stage k's to the next, links_[2 k + 1] the other end of it.
  void hang_up(size_t stage) {
    if (stage > 0) links_[2 * stage - 1]->close();
    if (2 * stage < links_.size()) links_[2 * stage]->close();
  }

  std::vector<std::optional<Mirror>> mirrors_;
  std::vector<std::unique_ptr<link::Link>> links_;
  std::vector<std::unique_ptr<Channel>> prev_, next_;
};

// The later stages come when the first pair is done: it has not waited for them.
TEST(Mirror, PairsDoNotWaitForTheWholeRow) {
  Row row(4);
  const auto exchange = [&](int stage) {
    return std::async(std::launch::async,
                      [&row, stage] { return row.mirror(stage).exchange(1, state_of(stage, 1)); });
  };
  auto first = exchange(0), second = exchange(1);
  EXPECT_TRUE(first.get().is_ok());
  auto third = exchange(2), fourth = exchange(3);
  for (auto* later : {&second, &third, &fourth}) EXPECT_TRUE(later->get().is_ok());
}

TEST(Mirror, WhoeverIsLostHasItsStateFromItsNeighbour) {
  for (const int count : {2, 3, 4}) {
    for (int lost = 0; lost < count; ++lost) {
      Row row(count);
      row.exchange(4);
      row.exchange(5);
      row.lose(lost);
      EXPECT_EQ(row.mirror(lost).own(5), nullptr);
      row.recover(5, lost);
      for (int stage = 0; stage < count; ++stage) {
        const Bytes* own = row.mirror(stage).own(5);
        ASSERT_NE(own, nullptr) << "stage " << stage << " of " << count << ", lost " << lost;
        EXPECT_EQ(*own, state_of(stage, 5));
      }
    }
  }
}

// Neighbours one after the other: the new one keeps again what the lost one kept.
TEST(Mirror, AfterTheNextExchangeAnotherCanBeLost) {
  Row row(4);
  row.exchange(5);
  for (int lost : {1, 0, 3, 2, 3}) {
    row.lose(lost);
    row.recover(5, lost);
    row.exchange(5);
    EXPECT_EQ(*row.mirror(lost).own(5), state_of(lost, 5));
  }
}

// Stage 1 is lost before its copy of step 6 has left, stage 0 has handed its own over.
TEST(Mirror, AFailureBetweenTwoCopiesLeavesTheStepBefore) {
  Row row(3);
  row.exchange(5);
  const auto results = row.on_all([&](int stage, Mirror& mirror) {
    if (stage == 1) return Status(Code::kPeerLost, "killed");
    return mirror.exchange(6, state_of(stage, 6));
  });
  EXPECT_FALSE(results[2].is_ok());
  row.lose(1);
  row.recover(5, 1);
  for (int stage = 0; stage < 3; ++stage) {
    ASSERT_NE(row.mirror(stage).own(5), nullptr) << stage;
    EXPECT_EQ(*row.mirror(stage).own(5), state_of(stage, 5));
    EXPECT_EQ(row.mirror(stage).own(6), nullptr) << "of a past that was gone back on";
  }
}

TEST(Mirror, HoldsTheTwoLatest) {
  Row row(2);
  for (uint64_t step : {1, 2, 3}) row.exchange(step);
  row.connect();
  row.on_all([](int, Mirror& mirror) {
    const Status status = mirror.compare();
    Steps steps = mirror.steps();
    std::sort(steps.begin(), steps.end());
    EXPECT_EQ(steps, (Steps{2, 2, 3, 3}));
    return status;
  });
}

TEST(Mirror, MoreThanAStateCanHaveIsRefusedBeforeItIsSent) {
  Row row(2);
  const auto results = row.on_all([&](int stage, Mirror& mirror) {
    return mirror.exchange(1, stage == 0 ? Bytes(kMaxBytes + 1) : Bytes(1));
  });
  EXPECT_EQ(results[1].code(), Code::kCorrupt);
  EXPECT_NE(results[1].message().find("at most 3145728"), std::string::npos)
      << results[1].message();
}

TEST(Mirror, AStateThatIsNotKeptIsNotGiven) {
  Row row(2);
  row.exchange(5);
  row.lose(1);  // and does not know that stage 0 has only step 5
  row.connect();
  const auto results = row.on_all([&](int stage, Mirror& mirror) {
    const Status status = mirror.compare();
    return status.is_ok() ? mirror.fetch(6, stage == 1) : status;
  });
  EXPECT_EQ(results[0].code(), Code::kCorrupt);
  EXPECT_NE(results[0].message().find("stage 1 asks for its state after 6 steps"),
            std::string::npos)
      << results[0].message();
}

}  // namespace
}  // namespace mapl::pipeline
