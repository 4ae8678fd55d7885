// Two stages of a very small model on two threads, joined in process: what the tests of this room
// run.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>
#include <thread>

#include "link/inproc.h"
#include "pipeline/step.h"

namespace mapl::pipeline {

constexpr MicroBatchShape kTestShape{.batch = 2, .sequence_length = 5, .vocab_size = 50};
constexpr int kTestMicroBatches = 3;
constexpr double kTestTokens = 2 * 5 * kTestMicroBatches;

inline model::Config test_config() {
  return {.hidden_size = 16,
          .num_hidden_layers = 2,
          .num_attention_heads = 2,
          .num_key_value_heads = 2,
          .intermediate_size = 24,
          .vocab_size = 50};
}

inline codec::Options test_codec() {
  return {
      .projector = "stiefel", .rank = 4, .anchor = "none", .activation = "f32", .gradient = "f32"};
}

// Ids of micro-batch m: any, the same each time.
inline at::Tensor test_ids(int micro_batch) {
  const at::Tensor places = torch::arange(2 * 6, torch::kInt64).view({2, 6});
  return (places * 7 + 11 * micro_batch + 3).remainder(50).contiguous();
}

struct TestStage {
  TestStage(int index, link::Link& link, const codec::Options& codec)
      : index(index),
        boundary{.shape = kTestShape, .codec = codec, .seed = 1},
        model({.config = test_config(), .span = {index, 1}, .seed = 1}) {
    const codec::EndOptions end{
        .codec = codec, .boundary = 1, .hidden_size = 16, .rows = kTestShape.rows(), .seed = 1};
    std::vector<math::Parameter> parameters;
    if (index == 0) {
      sender = std::make_unique<codec::SenderEnd>(end);
      parameters = sender->parameters();
    } else {
      receiver = std::make_unique<codec::ReceiverEnd>(end);
      parameters = receiver->parameters();
    }
    for (const auto& [name, value] : model.parameters()) {
      parameters.push_back({name, value, math::Rule::kAdamW});
    }
    optimizer.emplace(parameters, math::Optimizer::Options{});
    actions = make_schedule("1f1b", 2, kTestMicroBatches).stages[static_cast<size_t>(index)];
    connect(link);
  }

  void connect(link::Link& link) {
    channel = std::make_unique<Channel>(
        link, Channel::Options{.stage = index, .neighbour = 1 - index, .timeout_seconds = 20});
    if (index == 0) {
      next.emplace(*channel, *sender, boundary);
    } else {
      prev.emplace(*channel, *receiver, boundary);
    }
    worker.emplace(model, prev ? &*prev : nullptr, next ? &*next : nullptr,
                   Worker::Options{.shape = kTestShape});
    step.emplace(model, *worker, *optimizer, prev ? &*prev : nullptr, next ? &*next : nullptr,
                 transaction, Step::Options{.stage = index, .num_stages = 2});
  }

  Result<Step::Outcome> train(const BatchSource& ids, bool wants_stop = false) {
    return step->train(actions, transaction.finished, kTestTokens, /*lr_factor=*/1, ids,
                       wants_stop);
  }

  // Over new links: to where both stages can go on from.
  Status rejoin() {
    Channel* before = prev ? channel.get() : nullptr;
    Channel* after = next ? channel.get() : nullptr;
    const auto agreed = agree(before, after, transaction.offers());
    if (!agreed.is_ok()) return agreed.status();
    const auto resume = pass_on(before, after, agreed.value(),
                                {.finished = agreed.value(), .commit = transaction.commit});
    if (!resume.is_ok()) return resume.status();
    return step->settle(resume.value().finished, resume.value().commit, /*lr_factor=*/1);
  }

  std::vector<at::Tensor> values() const {
    std::vector<at::Tensor> copies;
    for (const auto& parameter : optimizer->parameters()) {
      copies.push_back(parameter.value.detach().clone());
    }
    return copies;
  }

  int index;
  BoundaryOptions boundary;
  std::unique_ptr<Channel> channel;
  model::Stage model;
  std::unique_ptr<codec::SenderEnd> sender;
  std::unique_ptr<codec::ReceiverEnd> receiver;
  std::optional<PrevBoundary> prev;
  std::optional<NextBoundary> next;
  std::optional<math::Optimizer> optimizer;
  std::optional<Worker> worker;
  Transaction transaction;
  std::optional<Step> step;
  std::vector<Action> actions;
};

struct TwoStages {
  explicit TwoStages(const codec::Options& codec = test_codec()) {
    links = make_links();
    for (int k = 0; k < 2; ++k) stages[k] = std::make_unique<TestStage>(k, *links[k], codec);
  }

  // One training step on both; outcomes by stage.
  std::array<std::optional<Result<Step::Outcome>>, 2> train(uint64_t step,
                                                            bool stop_at_last = false,
                                                            const BatchSource& ids = test_ids) {
    std::array<std::optional<Result<Step::Outcome>>, 2> outcomes;
    {
      std::array<std::jthread, 2> threads;
      for (int k = 0; k < 2; ++k) {
        threads[k] = std::jthread([&, k] {
          outcomes[k] = stages[k]->step->train(stages[k]->actions, step, kTestTokens,
                                               /*lr_factor=*/1, ids, stop_at_last && k == 1);
        });
      }
    }
    return outcomes;
  }

  static std::array<std::unique_ptr<link::Link>, 2> make_links() {
    auto [a, b] = link::make_inproc_pair({.peer = "stage 1", .max_payload_bytes = 1 << 16},
                                         {.peer = "stage 0", .max_payload_bytes = 1 << 16});
    return {std::move(a), std::move(b)};
  }

  std::array<std::unique_ptr<link::Link>, 2> links;
  std::array<std::unique_ptr<TestStage>, 2> stages;
};

}  // namespace mapl::pipeline
