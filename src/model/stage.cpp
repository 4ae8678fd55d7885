#include "model/stage.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <numeric>

#include "base/check.h"
#include "base/status.h"
#include "model/ends.h"
#include "model/names.h"

namespace mapl::model {

std::vector<Span> cut(const Config& config, int64_t num_stages,
                      const std::vector<int64_t>& layers_per_stage) {
  const int64_t num_layers = config.num_hidden_layers;
  if (num_stages < 1 || num_stages > num_layers) {
    throw UserError(fmt::format(
        "pipeline.stages = {} does not fit model.num_hidden_layers = {}: every stage needs a layer",
        num_stages, num_layers));
  }
  std::vector<int64_t> counts = layers_per_stage;
  if (counts.empty()) {
    for (int64_t s = 0; s < num_stages; ++s) {
      counts.push_back(num_layers / num_stages + (s < num_layers % num_stages));
    }
  }
  const bool each_has_one =
      std::all_of(counts.begin(), counts.end(), [](int64_t n) { return n > 0; });
  if (static_cast<int64_t>(counts.size()) != num_stages || !each_has_one ||
      std::accumulate(counts.begin(), counts.end(), int64_t{0}) != num_layers) {
    throw UserError(
        fmt::format("pipeline.layers_per_stage = [{}] must hold {} numbers above 0, one for each "
                    "stage, that add "
                    "up to model.num_hidden_layers = {}",
                    fmt::join(counts, ", "), num_stages, num_layers));
  }
  std::vector<Span> spans;
  int64_t first = 0;
  for (const int64_t count : counts) {
    spans.push_back({first, count});
    first += count;
  }
  return spans;
}

Stage::Stage(const Options& options) : options_(options) {
  const Config& config = options_.config;
  const Span& span = options_.span;
  validate(config);
  MAPL_CHECK(span.first_layer >= 0 && span.num_layers > 0 &&
                 span.first_layer + span.num_layers <= config.num_hidden_layers,
             "layers {} + {} of {}", span.first_layer, span.num_layers, config.num_hidden_layers);
  const auto add = [&](const std::string& name) {
    at::Tensor value = initial_value(config, name, options_.seed).to(options_.device);
    parameters_.emplace_back(name, value.requires_grad_(true));
    return value;
  };
  if (is_first()) embedding_ = add(kEmbedding);
  for (int64_t n = span.first_layer; n < span.first_layer + span.num_layers; ++n) {
    std::vector<at::Tensor> p;
    for (const NamedShape& shape : layer_shapes(config, n)) p.push_back(add(shape.name));
    layers_.push_back({p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]});
  }
  if (is_last()) {
    const at::Tensor norm = add(kFinalNorm);
    head_ = {norm, add(kHead), config.rms_norm_eps};
  }
}

bool Stage::is_first() const { return options_.span.first_layer == 0; }

bool Stage::is_last() const {
  return options_.span.first_layer + options_.span.num_layers == options_.config.num_hidden_layers;
}

at::Tensor Stage::forward(const at::Tensor& input, int64_t batch, int64_t sequence_length) {
  const Config& config = options_.config;
  const int64_t num_rows = batch * sequence_length;
  MAPL_CHECK(input.numel() == num_rows * (is_first() ? 1 : config.hidden_size),
             "{} values for {} sequences of {}", input.numel(), batch, sequence_length);
  if (!rotary_.cos_TE.defined() || rotary_.cos_TE.size(0) != sequence_length) {
    rotary_ = make_rotary(config, sequence_length, options_.device);
  }
  at::Tensor x_ND =
      is_first() ? embed(embedding_, input) : input.view({num_rows, config.hidden_size});
  for (const Layer& layer : layers_) x_ND = block(config, layer, rotary_, x_ND, batch);
  return x_ND;
}

at::Tensor Stage::loss(const at::Tensor& x_ND, const at::Tensor& targets, double divisor) {
  MAPL_CHECK(is_last(), "only the last stage has a head");
  MAPL_CHECK(targets.numel() == x_ND.size(0), "{} targets for {} rows", targets.numel(),
             x_ND.size(0));
  return head_loss(head_, x_ND, targets.flatten(), divisor);
}

const std::vector<std::pair<std::string, at::Tensor>>& Stage::parameters() const {
  return parameters_;
}

}  // namespace mapl::model
