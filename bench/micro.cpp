// Named cases for Google Benchmark; every codec case stands beside the GEMMs that it cannot do
// without.
//
//   build/release/mapl-bench --benchmark_filter=codec --benchmark_repetitions=9
//       --benchmark_report_aggregates_only=true
//
// One compute thread: run with OPENBLAS_NUM_THREADS=1. Results with machine and date:
// bench/results.
#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include <memory>
#include <string>

#include "codec/codec.h"
#include "codec/gather.h"
#include "math/optimizer.h"
#include "math/polar.h"
#include "math/rvq.h"
#include "math/stiefel.h"

namespace mapl {
namespace {

struct Shape {
  int64_t rows, hidden_size, rank, vocab_size;
};
constexpr Shape kSmall{1024, 256, 64, 4096};
constexpr Shape kLlama150m{1024, 1024, 256, 32000};

// The four products of a boundary and its backward: z = x A and its two gradients at the sender, x^
// = z A^T and its two at the receiver.
void projection_gemms(benchmark::State& state, const Shape& shape) {
  const at::Tensor x_ND = torch::randn({shape.rows, shape.hidden_size});
  const at::Tensor basis_DR = math::random_stiefel(shape.hidden_size, shape.rank, 1);
  const at::Tensor z_NR = torch::randn({shape.rows, shape.rank});
  for (auto _ : state) {
    benchmark::DoNotOptimize(torch::mm(x_ND, basis_DR));      // z
    benchmark::DoNotOptimize(torch::mm(z_NR, basis_DR.t()));  // x^
    benchmark::DoNotOptimize(torch::mm(x_ND, basis_DR));      // gradient of z: G A
    benchmark::DoNotOptimize(torch::mm(x_ND.t(), z_NR));      // receiver's half: G^T Z
    benchmark::DoNotOptimize(torch::mm(z_NR, basis_DR.t()));  // gradient of x: g A^T
    benchmark::DoNotOptimize(torch::mm(x_ND.t(), z_NR));      // sender's half: R^T g
  }
  state.SetItemsProcessed(state.iterations() * shape.rows);
}

void codec_both_legs(benchmark::State& state, const Shape& shape, const std::string& anchor,
                     const std::string& packing) {
  const codec::Options options{.projector = "stiefel",
                               .rank = shape.rank,
                               .anchor = anchor,
                               .activation = packing,
                               .gradient = packing};
  const at::Tensor embedding_VD = torch::randn({shape.vocab_size, shape.hidden_size});
  const auto end = [&](const std::string& name) {
    return codec::EndOptions{
        .codec = options,
        .boundary = 2,
        .hidden_size = shape.hidden_size,
        .anchor = codec::make_anchor(
            {.name = name, .kind = anchor, .rank = shape.rank, .embedding_VD = embedding_VD})};
  };
  codec::SenderEnd sender(end("boundary.2.sender.anchor"));
  codec::ReceiverEnd receiver(end("boundary.2.receiver.anchor"));
  const at::Tensor x_ND = torch::randn({shape.rows, shape.hidden_size}).requires_grad_(true);
  const at::Tensor grad_ND = torch::randn({shape.rows, shape.hidden_size});
  const at::Tensor ids_N = torch::randint(shape.vocab_size, {shape.rows}, torch::kInt64);
  uint32_t micro_batch = 0;
  for (auto _ : state) {
    const codec::MessageKey key{.micro_batch = micro_batch++};
    const at::Tensor z_NR = sender.project(x_ND, ids_N);
    at::Tensor received = receiver.unpack(sender.pack(z_NR.detach(), key), shape.rows, key).value();
    received.requires_grad_(true);
    receiver.restore(received, ids_N).backward(grad_ND);
    const auto grad =
        sender.unpack_gradient(receiver.pack_gradient(received.grad(), key), shape.rows, key);
    z_NR.backward(grad.value());
    state.PauseTiming();
    x_ND.mutable_grad() = at::Tensor();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * shape.rows);
}

void polar_factor(benchmark::State& state) {
  const at::Tensor x_DR = torch::randn({state.range(0), state.range(1)});
  for (auto _ : state) benchmark::DoNotOptimize(math::polar(x_DR));
}

void retraction(benchmark::State& state) {
  const at::Tensor basis_DR = math::random_stiefel(state.range(0), state.range(1), 1);
  const at::Tensor step_DR =
      basis_DR - 0.002 * math::random_stiefel(state.range(0), state.range(1), 2);
  for (auto _ : state) benchmark::DoNotOptimize(math::polish(step_DR));
}

void optimizer_step(benchmark::State& state) {
  const int64_t width = state.range(0), mlp = state.range(1), layers = 8;
  std::vector<math::Parameter> parameters;
  const auto add = [&](int64_t rows, int64_t columns) {
    at::Tensor value = torch::randn({rows, columns}).requires_grad_(true);
    value.mutable_grad() = torch::randn({rows, columns});
    parameters.push_back({std::to_string(parameters.size()), value, math::Rule::kMuon});
  };
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int i = 0; i < 4; ++i) add(width, width);
    add(mlp, width);
    add(mlp, width);
    add(width, mlp);
  }
  math::Optimizer optimizer(parameters, {});
  for (auto _ : state) optimizer.step(1e-6, 1);
}

// Groups of 8 columns, 2 rounds of 256 entries, fitted to Gaussian rows; relative_error is that of
// others. The argument is the number of columns.
void rvq_encode(benchmark::State& state) {
  const int64_t columns = state.range(0);
  const auto rows = [&](int64_t count) { return torch::randn({count, columns}); };
  const at::Tensor codebook = math::rvq_fit(
      rows(20000), {.rounds = 2, .groups = columns / 8, .entries = 256}, /*seed=*/1, 25);
  const at::Tensor x_NR = rows(4096);
  at::Tensor code_NSQ;
  for (auto _ : state) code_NSQ = math::rvq_encode(x_NR, codebook);
  state.SetItemsProcessed(state.iterations() * x_NR.size(0));
  const at::Tensor lost = x_NR - math::rvq_decode(code_NSQ, codebook);
  state.counters["relative_error"] = (lost.norm() / x_NR.norm()).item<double>();
}

// A step's part in a table of n-grams, of all tokens of the step: gather, its gradient, the update.
void table_step(benchmark::State& state) {
  constexpr int64_t kTokens = 4096, kRank = 32;
  const int64_t entries = state.range(0);
  const auto touched = state.range(1) == 1 ? std::make_shared<math::TouchedRows>(entries) : nullptr;
  const math::Rule rule = touched ? math::Rule::kSparseAdamW : math::Rule::kAdamW;
  const at::Tensor table = torch::zeros({entries, kRank}).requires_grad_();
  math::Optimizer optimizer({{"table", table, rule, touched}}, {});
  const at::Tensor ids_N = torch::randint(entries, {kTokens}, torch::kLong);
  for (auto _ : state) {
    codec::gather_rows(table, ids_N, touched.get()).sum().backward();
    optimizer.step(1, 1);
    optimizer.zero_grad();
  }
}

BENCHMARK(rvq_encode)->Name("rvq/encode")->Arg(64)->Arg(256);
BENCHMARK(table_step)
    ->Name("codec/table_step")
    ->ArgNames({"entries", "sparse"})
    ->ArgsProduct({{1 << 14, 1 << 17, 1 << 20}, {0, 1}});
BENCHMARK_CAPTURE(projection_gemms, small, kSmall)->Name("codec/gemms_alone/small");
BENCHMARK_CAPTURE(codec_both_legs, small, kSmall, "none", "bf16")->Name("codec/none_bf16/small");
BENCHMARK_CAPTURE(codec_both_legs, small, kSmall, "factorized", "bf16")
    ->Name("codec/factorized_bf16/small");
BENCHMARK_CAPTURE(codec_both_legs, small, kSmall, "none", "int8")->Name("codec/none_int8/small");
BENCHMARK_CAPTURE(codec_both_legs, small, kSmall, "none", "int6")->Name("codec/none_int6/small");
BENCHMARK_CAPTURE(codec_both_legs, small, kSmall, "none", "int4")->Name("codec/none_int4/small");
BENCHMARK_CAPTURE(projection_gemms, llama_150m, kLlama150m)->Name("codec/gemms_alone/llama-150m");
BENCHMARK_CAPTURE(codec_both_legs, llama_150m, kLlama150m, "none", "bf16")
    ->Name("codec/none_bf16/llama-150m");
BENCHMARK_CAPTURE(codec_both_legs, llama_150m, kLlama150m, "factorized", "bf16")
    ->Name("codec/factorized_bf16/llama-150m");
BENCHMARK_CAPTURE(codec_both_legs, llama_150m, kLlama150m, "none", "int8")
    ->Name("codec/none_int8/llama-150m");
BENCHMARK(polar_factor)->Name("math/polar")->Args({1024, 256})->Args({2048, 256});
BENCHMARK(retraction)->Name("math/polish")->Args({256, 64})->Args({1024, 256});
BENCHMARK(optimizer_step)->Name("math/muon_step")->Args({128, 344})->Args({256, 688});

}  // namespace
}  // namespace mapl

int main(int argc, char** argv) {
  at::set_num_threads(1);
  torch::manual_seed(0);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
