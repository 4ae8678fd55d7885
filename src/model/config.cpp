#include "model/config.h"

#include <fmt/format.h>

#include "base/status.h"

namespace mapl::model {
namespace {

void require_positive(const char* key, double value) {
  if (!(value > 0)) {
    throw UserError(fmt::format("model.{} must be greater than 0, got {}", key, value));
  }
}

void require_multiple(const char* key, int64_t value, const char* of, int64_t divisor) {
  if (value % divisor != 0) {
    throw UserError(fmt::format("model.{} = {} must be a multiple of model.{} = {}: change either",
                                key, value, of, divisor));
  }
}

}  // namespace

void validate(const Config& c) {
  require_positive("hidden_size", c.hidden_size);
  require_positive("num_hidden_layers", c.num_hidden_layers);
  require_positive("num_attention_heads", c.num_attention_heads);
  require_positive("num_key_value_heads", c.num_key_value_heads);
  require_positive("intermediate_size", c.intermediate_size);
  require_positive("vocab_size", c.vocab_size);
  require_positive("rope_theta", c.rope_theta);
  require_positive("rms_norm_eps", c.rms_norm_eps);
  require_multiple("hidden_size", c.hidden_size, "num_attention_heads", c.num_attention_heads);
  require_multiple("num_attention_heads", c.num_attention_heads, "num_key_value_heads",
                   c.num_key_value_heads);
  if (head_size(c) % 2 != 0) {
    throw UserError(fmt::format(
        "model.hidden_size = {} over model.num_attention_heads = {} gives heads of {}: rotary "
        "embedding turns pairs, so the size of a head must be even",
        c.hidden_size, c.num_attention_heads, head_size(c)));
  }
}

}  // namespace mapl::model
