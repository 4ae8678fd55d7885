#include "model/presets.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/status.h"

namespace mapl::model {
namespace {

struct Preset {
  std::string_view name;
  int64_t hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, vocab_size;
};

constexpr Preset kPresets[] = {
    {"tiny", 128, 8, 4, 344, 4096},           {"small", 256, 8, 4, 688, 4096},
    {"llama-150m", 1024, 8, 16, 2816, 32000}, {"llama-500m", 1536, 16, 16, 4096, 32000},
    {"llama-1b", 2048, 16, 32, 5632, 32000},
};

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& p : kPresets) names.emplace_back(p.name);
  return names;
}

Config preset(std::string_view name) {
  for (const Preset& p : kPresets) {
    if (p.name == name) {
      return {.hidden_size = p.hidden_size,
              .num_hidden_layers = p.num_hidden_layers,
              .num_attention_heads = p.num_attention_heads,
              .num_key_value_heads = p.num_attention_heads,
              .intermediate_size = p.intermediate_size,
              .vocab_size = p.vocab_size};
    }
  }
  throw UserError(fmt::format("model.preset = \"{}\" is unknown: use one of {}", name,
                              fmt::join(preset_names(), ", ")));
}

}  // namespace mapl::model
