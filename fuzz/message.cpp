// Messages of known layout: the handshake, control messages, and what stages tell each other.
#include "base/check.h"
#include "link/chunks.h"
#include "link/hello.h"
#include "pipeline/agreement.h"
#include "pipeline/vote.h"

namespace {

using mapl::Bytes;
using mapl::ByteSpan;

// What was understood is said again in the same way, and understood again.
template <typename Decode, typename Encode>
void try_one(ByteSpan bytes, const Decode& decode, const Encode& encode) {
  const auto first = decode(bytes);
  if (!first.is_ok()) return;
  const Bytes said = encode(first.value());
  const auto second = decode(said);
  MAPL_CHECK(second.is_ok(), "{}", second.status().to_string());
  MAPL_CHECK(encode(second.value()) == said, "said otherwise the second time");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteSpan bytes = std::as_bytes(std::span(data + 1, size - 1));
  switch (data[0] % 6) {
    case 0:
      try_one(bytes, mapl::link::decode_control, mapl::link::encode_control);
      break;
    case 1:
      try_one(bytes, mapl::link::decode_hello, mapl::link::encode_hello);
      break;
    case 2:
      try_one(bytes, mapl::pipeline::decode_offer, mapl::pipeline::encode_offer);
      break;
    case 3:
      try_one(bytes, mapl::pipeline::decode_resume,
              [](const mapl::pipeline::Resume& resume) { return encode(resume); });
      break;
    case 4:
      try_one(bytes, mapl::pipeline::decode_commit,
              [](const mapl::pipeline::Commit& commit) { return encode(commit); });
      break;
    default:
      for (int reports = 1; reports <= 3; ++reports) {
        try_one(
            bytes, [&](ByteSpan vote) { return mapl::pipeline::decode_vote(vote, reports); },
            [](const mapl::pipeline::Vote& vote) { return encode(vote); });
      }
  }
  return 0;
}
