#include "data/text_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/status.h"

namespace mapl::data {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes that a lead byte announces, and the range of the second byte; the rest is 80..BF.
struct Lead {
  int length;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};  // no overlong forms
  if (byte == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // up to U+10FFFF
  return {0};
}

}  // namespace

int utf8_sequence(std::string_view text) {
  const Lead lead = lead_of(static_cast<uint8_t>(text[0]));
  if (lead.length == 0) return -1;
  for (int i = 1; i < lead.length; ++i) {
    if (i == static_cast<int>(text.size())) return 0;
    const auto byte = static_cast<uint8_t>(text[i]);
    const bool fits = i == 1 ? byte >= lead.low && byte <= lead.high : (byte & 0xC0) == 0x80;
    if (!fits) return -i;
  }
  return lead.length;
}

TextFile::TextFile(std::string path, InvalidUtf8 invalid)
    : path_(std::move(path)), invalid_(invalid), file_(std::fopen(path_.c_str(), "rbe")) {
  if (file_ == nullptr) {
    throw UserError(fmt::format("text file {}: {}; check the path", path_, std::strerror(errno)));
  }
  struct stat info;
  if (::fstat(::fileno(file_.get()), &info) != 0 || !S_ISREG(info.st_mode)) {
    throw UserError(fmt::format(
        "text file {}: not a regular file; text is read more than once, so save it to a file first",
        path_));
  }
}

bool TextFile::read(std::string& out) {
  if (at_end_) return false;
  const size_t left_over = raw_.size();
  raw_.resize(left_over + kBlockBytes);
  const size_t got = std::fread(raw_.data() + left_over, 1, kBlockBytes, file_.get());
  if (std::ferror(file_.get())) {
    throw RunError(Status(Code::kIo, fmt::format("{}: {}", path_, std::strerror(errno))));
  }
  raw_.resize(left_over + got);
  bytes_read_ += static_cast<int64_t>(got);
  at_end_ = got < kBlockBytes;
  check(out);
  return true;
}

void TextFile::check(std::string& out) {
  const std::string_view text = raw_;
  size_t done = 0;   // well-formed so far
  size_t taken = 0;  // appended so far
  while (done < text.size()) {
    int length = utf8_sequence(text.substr(done));
    if (length == 0) {
      if (!at_end_) break;
      length = -static_cast<int>(text.size() - done);
    }
    if (length > 0) {
      done += length;
      continue;
    }
    const auto first = static_cast<uint8_t>(text[done]);
    if (invalid_ == InvalidUtf8::kRefuse) {
      const int64_t offset = bytes_read_ - static_cast<int64_t>(text.size() - done);
      throw UserError(fmt::format(
          "text file {}: not UTF-8 at byte {} (0x{:02X}); convert the file (iconv -t UTF-8), or "
          "pass --invalid-utf8 replace to read such bytes as U+FFFD",
          path_, offset, first));
    }
    out.append(text, taken, done - taken);
    out.append(kReplacement);
    done -= length;
    taken = done;
    ++num_replaced_;
  }
  out.append(text, taken, done - taken);
  raw_.erase(0, done);
}

}  // namespace mapl::data
