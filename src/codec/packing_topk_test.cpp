#include <gtest/gtest.h>
#include <torch/torch.h>

#include "codec/packing.h"

namespace mapl::codec {
namespace {

at::Tensor unpacked(Packing& packing, const Bytes& bytes, int64_t columns,
                    const MessageKey& key = {}) {
  return packing.unpack(bytes, 1, columns, key).value();
}

TEST(PackingTopk, SendsTheLargestAndWhereTheyStand) {
  const auto packing = make_packing("topk", {.topk = 2});
  const Bytes bytes = packing->pack(torch::tensor({{0.5F, -3.0F, 1.0F, 2.0F}}), {});
  // -3 and 2 as bf16, then columns 1 and 3 in two bits each.
  const unsigned char expected[] = {0x40, 0xC0, 0x00, 0x40, 0x0D};
  ASSERT_EQ(bytes.size(), sizeof(expected));
  EXPECT_EQ(std::memcmp(bytes.data(), expected, sizeof(expected)), 0);
  EXPECT_TRUE(torch::equal(unpacked(*make_packing("topk", {.topk = 2}), bytes, 4),
                           torch::tensor({{0.0F, -3.0F, 0.0F, 2.0F}})));
}

TEST(PackingTopk, KeepsWhatTorchCallsTheLargest) {
  const auto packing = make_packing("topk", {.topk = 5});
  const at::Tensor x = torch::randn({30, 17}).to(torch::kBFloat16).to(torch::kFloat);
  const at::Tensor back = packing->unpack(packing->pack(x, {}), 30, 17, {}).value();
  const at::Tensor kept = std::get<1>(x.abs().topk(5, 1));
  EXPECT_TRUE(torch::equal(back, torch::zeros_like(x).scatter(1, kept, x.gather(1, kept))));
}

// Sender: packs activations, unpacks gradients. Receiver: the other way round.
struct End {
  explicit End(bool sender)
      : activation(make_packing("topk", {.leg = Leg::kActivation, .packs = sender, .topk = 2})),
        gradient(make_packing(
            "topk",
            {.leg = Leg::kGradient, .packs = !sender, .topk = 2, .forward = activation.get()})) {}
  std::unique_ptr<Packing> activation, gradient;
};

TEST(PackingTopk, TheGradientComesBackThroughTheMaskOfItsMicroBatch) {
  End sender(true), receiver(false);
  const at::Tensor x[] = {torch::tensor({{9.0F, 0.0F, 8.0F, 0.0F}}),
                          torch::tensor({{0.0F, 7.0F, 0.0F, 6.0F}})};
  for (uint32_t m : {0U, 1U}) {  // both under way at once
    unpacked(*receiver.activation, sender.activation->pack(x[m], {.micro_batch = m}), 4,
             {.micro_batch = m});
  }
  const at::Tensor grad = torch::tensor({{1.0F, 2.0F, 3.0F, 4.0F}});
  for (uint32_t m : {0U, 1U}) {
    const Bytes bytes = receiver.gradient->pack(grad, {.micro_batch = m});
    EXPECT_EQ(bytes.size(), 4U);  // no columns
    EXPECT_TRUE(
        torch::equal(unpacked(*sender.gradient, bytes, 4, {.micro_batch = m}), grad * (x[m] != 0)));
  }
}

TEST(PackingTopk, AGradientWhoseForwardIsAnotherPackingHasAMaskOfItsOwn) {
  const auto forward = make_packing("bf16", {});
  const auto packing =
      make_packing("topk", {.leg = Leg::kGradient, .topk = 1, .forward = forward.get()});
  const Bytes bytes = packing->pack(torch::tensor({{1.0F, 2.0F}}), {});
  EXPECT_TRUE(torch::equal(unpacked(*packing, bytes, 2), torch::tensor({{0.0F, 2.0F}})));
}

// What is small is not lost: after enough micro-batches its sum has been sent.
TEST(PackingTopk, FeedbackSendsInTheEndWhatItLeftOut) {
  const auto packing =
      make_packing("topk", {.columns = 3, .rows = 1, .topk = 1, .topk_feedback = true});
  const at::Tensor x = torch::tensor({{1.0F, 0.5F, -0.25F}});
  at::Tensor sum = torch::zeros_like(x);
  for (int step = 0; step < 70; ++step) {
    sum += unpacked(*packing, packing->pack(x, {}), 3);
    packing->commit();
  }
  // What is still owed is at most the sum of the three.
  EXPECT_LT((sum / 70 - x).abs().max().item<double>(), 1.75 / 70);
}

// What was left out of training is of other tokens.
TEST(PackingTopk, AValidationOwesAndPaysNothing) {
  const auto packing =
      make_packing("topk", {.columns = 3, .rows = 1, .topk = 1, .topk_feedback = true});
  packing->pack(torch::tensor({{9.0F, 8.0F, 7.0F}}), {});
  packing->commit();
  const at::Tensor x = torch::tensor({{1.0F, 0.5F, -0.25F}});
  for (int times = 0; times < 2; ++times) {
    const at::Tensor sent = unpacked(*packing, packing->pack(x, {.trains = false}), 3);
    EXPECT_TRUE(torch::equal(sent, torch::tensor({{1.0F, 0.0F, 0.0F}}))) << sent;
  }
}

TEST(PackingTopk, AnAbortedStepOwesNothing) {
  const auto make = [] {
    return make_packing("topk", {.columns = 3, .rows = 1, .topk = 1, .topk_feedback = true});
  };
  const auto plain = make();
  const auto aborted = make();
  aborted->pack(torch::tensor({{9.0F, 8.0F, 7.0F}}), {});
  aborted->abort();
  const at::Tensor x = torch::tensor({{1.0F, 0.5F, -0.25F}});
  EXPECT_EQ(aborted->pack(x, {}), plain->pack(x, {}));
}

TEST(PackingTopk, ColumnsThatDoNotAscendAreCorrupt) {
  const auto packing = make_packing("topk", {.topk = 2});
  Bytes bytes = packing->pack(torch::tensor({{0.5F, -3.0F, 1.0F, 2.0F}}), {});
  for (const unsigned char columns : {0x05, 0x07}) {  // 1, 1 and 3, 1
    bytes.back() = static_cast<std::byte>(columns);
    EXPECT_EQ(packing->unpack(bytes, 1, 4, {}).status().code(), Code::kCorrupt);
  }
}

TEST(PackingTopk, MoreThanThereAreIsRefused) {
  EXPECT_THROW(make_packing("topk", {.columns = 4, .topk = 5}), UserError);
  EXPECT_THROW(make_packing("topk", {.topk = 0}), UserError);
}

}  // namespace
}  // namespace mapl::codec
