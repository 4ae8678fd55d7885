// A file of tensors. Half of the inputs are a header, a line break and data, to which the length
// is put in front: a mutation of the text then stays a file.
#include "checkpoint/safetensors.h"

#include <torch/torch.h>

#include <algorithm>

#include "base/check.h"
#include "base/status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t* text = data + 1;
  const uint8_t* end = data + size;
  mapl::Bytes bytes;
  if (data[0] % 2 == 0) {
    const uint8_t* line_break = std::find(text, end, '\n');
    mapl::append(bytes, static_cast<uint64_t>(line_break - text));
    for (const uint8_t* at = text; at < end; ++at) {
      if (at != line_break) mapl::append(bytes, *at);
    }
  } else {
    for (const uint8_t* at = text; at < end; ++at) mapl::append(bytes, *at);
  }
  try {
    mapl::checkpoint::Metadata metadata;
    uint64_t held = 0;
    for (const auto& named : mapl::checkpoint::parse_safetensors(bytes, "a file", &metadata)) {
      held += named.second.nbytes();
    }
    MAPL_CHECK(held <= bytes.size(), "{} bytes of tensors from {}", held, bytes.size());
  } catch (const mapl::UserError&) {
  }
  return 0;
}
