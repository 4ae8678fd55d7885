#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "base/rng.h"
#include "base/status.h"
#include "model/names.h"
#include "model/stage.h"

namespace mapl::model {
namespace {

constexpr double kEmbeddingDeviation = 0.5;
constexpr double kWeightVariance = 0.36;  // over the fan-in

// Value i depends on (key, i) alone. WHY not torch::normal: its bits change with the vector unit,
// the number of threads and the release, and stages may sit on different machines.
at::Tensor normal(const std::vector<int64_t>& shape, double deviation, uint64_t key) {
  at::Tensor out = torch::empty(shape, torch::kFloat32);
  float* values = out.data_ptr<float>();
  const int64_t size = out.numel();
  at::parallel_for(0, (size + 3) / 4, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t four = begin; four < end; ++four) {
      const auto bits = philox(key, 0, four);
      for (int64_t pair = 0; pair < 2; ++pair) {  // Box and Muller
        const double u = (bits[2 * pair] + 1.0) * 0x1p-32;
        const double angle = 2 * std::numbers::pi * bits[2 * pair + 1] * 0x1p-32;
        const double radius = deviation * std::sqrt(-2 * std::log(u));
        const int64_t i = 4 * four + 2 * pair;
        if (i < size) values[i] = static_cast<float>(radius * std::cos(angle));
        if (i + 1 < size) values[i + 1] = static_cast<float>(radius * std::sin(angle));
      }
    }
  });
  return out;
}

bool is_residual_output(const std::string& name) {
  return name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
}

}  // namespace

at::Tensor initial_value(const Config& config, const std::string& name, uint64_t seed) {
  if (name == kHead && config.tie_word_embeddings) return initial_value(config, kEmbedding, seed);
  for (const NamedShape& p : parameter_shapes(config)) {
    if (p.name != name) continue;
    if (p.shape.size() == 1) return torch::ones(p.shape);
    if (name == kHead || is_residual_output(name)) return torch::zeros(p.shape);
    const double deviation = name == kEmbedding
                                 ? kEmbeddingDeviation
                                 : std::sqrt(kWeightVariance / static_cast<double>(p.shape[1]));
    return normal(p.shape, deviation, derive_seed(seed, name));
  }
  throw UserError(fmt::format("the model has no parameter \"{}\"; it has {} layers", name,
                              config.num_hidden_layers));
}

}  // namespace mapl::model
