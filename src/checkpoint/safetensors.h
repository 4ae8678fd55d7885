// The safetensors format (huggingface.co/docs/safetensors): u64 header length, JSON header, data.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace mapl::checkpoint {

// The type of math::NamedTensors, which this room does not know.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
using Metadata = std::map<std::string, std::string>;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;

// Writes float64, float32, bfloat16, float16, int64, int32 and uint8 tensors of any device,
// atomically. Wider types come first, else the given order, so that every tensor is aligned.
//   ERRORS  RunError (kIo) when the disk refuses; UserError when a name is not UTF-8.
//   REQUIRES  names differ; a type named above.
void save_safetensors(const std::string& path, const NamedTensors& tensors,
                      const Metadata& metadata = {});

// The same in memory.
Bytes to_safetensors(const NamedTensors& tensors);

// In the order of the data, on the CPU, owning their memory.
//   ERRORS  UserError that names the file. Nothing in the file is believed: length, types, shapes
//   and
//           offsets are checked (the data covered once, without gaps) before anything is allocated.
NamedTensors load_safetensors(const std::string& path, Metadata* metadata = nullptr);

// The same from memory; `path` is how errors call it.
NamedTensors parse_safetensors(ByteSpan bytes, const std::string& path,
                               Metadata* metadata = nullptr);

}  // namespace mapl::checkpoint
