// Pieces of frames as a peer sends them: either what it made up, or frames of ours that were
// changed on the way.
#include "base/check.h"
#include "input.h"
#include "link/chunks.h"

namespace mapl::link {
namespace {

constexpr uint64_t kMaxPayloadBytes = 4096;

// Feeds one frame's bytes in pieces; the frame that comes of it, if one does.
std::optional<Frame> assemble(ByteSpan bytes, FuzzedDataProvider& input) {
  Assembler assembler(kMaxPayloadBytes);
  while (!bytes.empty()) {
    const auto size = input.ConsumeIntegralInRange<size_t>(1, bytes.size());
    auto frame = assembler.add(bytes.first(size));
    if (!frame.is_ok()) return std::nullopt;
    bytes = bytes.subspan(size);
    if (frame.value()) {
      MAPL_CHECK(frame.value()->payload.size() <= kMaxPayloadBytes, "too large");
      return frame.value();
    }
  }
  return std::nullopt;
}

void try_own(FuzzedDataProvider& input) {
  Frame frame;
  frame.header = {.kind = static_cast<Kind>(input.ConsumeIntegralInRange<int>(1, 16)),
                  .packing = input.ConsumeIntegral<uint8_t>(),
                  .boundary = input.ConsumeIntegral<uint16_t>(),
                  .step = input.ConsumeIntegral<uint64_t>(),
                  .micro_batch = input.ConsumeIntegral<uint32_t>(),
                  .sent_ns = input.ConsumeIntegral<int64_t>()};
  const auto num_changes = input.ConsumeIntegralInRange<int>(0, 4);
  frame.payload = take_bytes(input, input.ConsumeIntegralInRange<size_t>(0, 5000));
  const Bytes sent = [&] {
    Bytes bytes = encode_header(frame);
    bytes.insert(bytes.end(), frame.payload.begin(), frame.payload.end());
    return bytes;
  }();
  Bytes bytes = sent;
  for (int i = 0; i < num_changes; ++i) {
    bytes[input.ConsumeIntegralInRange<size_t>(0, bytes.size() - 1)] ^=
        std::byte{input.ConsumeIntegral<uint8_t>()};
  }
  const bool is_whole = bytes == sent && frame.payload.size() <= kMaxPayloadBytes;
  // A header never comes in parts; all else may.
  Assembler assembler(kMaxPayloadBytes);
  const auto got = assembler.add(bytes);
  const bool arrived = got.is_ok() && got.value().has_value();
  MAPL_CHECK(arrived == is_whole, "{} changes, {} payload bytes", num_changes,
             frame.payload.size());
  if (arrived) MAPL_CHECK(encode_header(*got.value()) == encode_header(frame), "another frame");
  (void)assemble(bytes, input);
}

}  // namespace
}  // namespace mapl::link

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  if (input.ConsumeBool()) {
    mapl::link::try_own(input);
    return 0;
  }
  const auto bytes = mapl::take_bytes(input, input.ConsumeIntegralInRange<size_t>(0, 8192));
  (void)mapl::link::assemble(bytes, input);
  return 0;
}
