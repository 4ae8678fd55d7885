#include "codec/log_sizes.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>

namespace mapl::codec {
namespace {

constexpr int kTopCode = 255;  // of the largest; 0 is the size 0
constexpr int kStepsPerOctave = 8;

// 2^(-k / 8) to float32: from a list and not from exp2(), whose last bit differs between libraries.
constexpr float kFractions[kStepsPerOctave] = {1.0F,         0.917004043F, 0.840896415F,
                                               0.77110541F,  0.707106781F, 0.648419777F,
                                               0.594603558F, 0.545253866F};

float size_of(int code, float largest) {
  if (code == 0) return 0;
  const int below = kTopCode - code;
  return std::ldexp(kFractions[below % kStepsPerOctave], -(below / kStepsPerOctave)) * largest;
}

}  // namespace

int64_t log_size_bytes(int64_t num_sizes) {
  return num_sizes == 0 ? 0 : static_cast<int64_t>(sizeof(float)) + num_sizes;
}

Bytes pack_log_sizes(const at::Tensor& size_N) {
  Bytes bytes;
  if (size_N.numel() == 0) return bytes;
  const at::Tensor host = size_N.contiguous();
  const auto* sizes = host.data_ptr<float>();
  const float largest = *std::max_element(sizes, sizes + host.numel());
  append(bytes, largest);
  for (int64_t i = 0; i < host.numel(); ++i) {
    const double below =
        sizes[i] > 0 ? kStepsPerOctave * std::log2(double{largest} / sizes[i]) : double{kTopCode};
    append(bytes, static_cast<uint8_t>(kTopCode - std::min<double>(std::round(below), kTopCode)));
  }
  return bytes;
}

Result<at::Tensor> unpack_log_sizes(ByteSpan bytes, int64_t num_sizes) {
  if (static_cast<int64_t>(bytes.size()) != log_size_bytes(num_sizes)) {
    return Status(Code::kCorrupt, fmt::format("sizes of {} rows take {} bytes, {} arrived",
                                              num_sizes, log_size_bytes(num_sizes), bytes.size()));
  }
  at::Tensor size_N = torch::empty({num_sizes});
  if (num_sizes == 0) return size_N;
  const auto largest = read_at<float>(bytes, 0);
  if (!(largest >= 0) || std::isinf(largest)) {
    return Status(Code::kCorrupt, fmt::format("the largest size of a row is {}", largest));
  }
  auto* sizes = size_N.data_ptr<float>();
  for (int64_t i = 0; i < num_sizes; ++i) {
    const auto code = read_at<uint8_t>(bytes, sizeof(float) + static_cast<size_t>(i));
    sizes[i] = size_of(code, largest);
  }
  return size_N;
}

}  // namespace mapl::codec
