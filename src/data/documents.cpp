#include "data/documents.h"

#include "base/check.h"

namespace mapl::data {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\f\v";

bool is_space(char c) { return kSpaces.find(c) != std::string_view::npos; }

bool is_blank(std::string_view line) {
  return line.find_first_not_of(kSpaces) == std::string_view::npos;
}

std::string_view without_line_end(std::string_view line) {
  const size_t last = line.find_last_not_of("\r\n");
  return line.substr(0, last + 1);  // npos + 1 == 0
}

std::string fold(std::string_view text) {
  std::string folded;
  folded.reserve(text.size());
  for (const char c : text) {
    if (!is_space(c)) {
      folded.push_back(c);
    } else if (!folded.empty() && folded.back() != ' ') {
      folded.push_back(' ');
    }
  }
  if (!folded.empty() && folded.back() == ' ') folded.pop_back();
  return folded;
}

}  // namespace

Documents::Documents(std::vector<std::string> paths, Options options)
    : paths_(std::move(paths)), options_(std::move(options)) {
  MAPL_CHECK(options_.max_bytes >= 4, "documents of {} bytes", options_.max_bytes);
}

bool Documents::next(std::string& document) {
  for (;;) {
    if (begin_ == text_.size() && !refill() && !open_next()) return false;
    const End end = find_end();
    const std::string_view text = std::string_view(text_).substr(begin_, end.document);
    begin_ += end.next;
    if (is_blank(text)) continue;
    document =
        options_.whitespace == Whitespace::kFold ? fold(text) : std::string(without_line_end(text));
    return true;
  }
}

int64_t Documents::bytes_read() const {
  return closed_bytes_ + (file_ == nullptr ? 0 : file_->bytes_read());
}

int64_t Documents::num_replaced() const {
  return closed_replaced_ + (file_ == nullptr ? 0 : file_->num_replaced());
}

bool Documents::open_next() {
  if (next_path_ == paths_.size()) return false;
  closed_bytes_ = bytes_read();
  closed_replaced_ = num_replaced();
  file_ = std::make_unique<TextFile>(paths_[next_path_++], options_.invalid_utf8);
  mid_line_ = false;
  return true;
}

bool Documents::refill() {
  if (file_ == nullptr) return false;
  text_.erase(0, begin_);
  begin_ = 0;
  return file_->read(text_);
}

Documents::End Documents::find_end() {
  const auto max_bytes = static_cast<size_t>(options_.max_bytes);
  bool after_blank = false;
  for (size_t scan = 0;;) {
    std::string_view text = std::string_view(text_).substr(begin_);
    size_t line_end = text.find('\n', scan);
    while (line_end == std::string_view::npos && text.size() <= max_bytes && refill()) {
      text = text_;
      line_end = text.find('\n', scan);
    }
    if (scan == text.size()) return {scan, scan};  // the end of the file
    const size_t next = line_end == std::string_view::npos ? text.size() : line_end + 1;
    const std::string_view line = text.substr(scan, next - scan);

    if (options_.separator == Separator::kEntry) {
      if (after_blank && !is_space(line[0])) return {scan, scan};
      after_blank = is_blank(line);
    }
    const bool whole = scan > 0 || !mid_line_;
    if (options_.separator == Separator::kMark && whole &&
        without_line_end(line) == options_.mark) {
      mid_line_ = false;
      return {scan, next};
    }
    if (next > max_bytes) {
      const End end = cut();
      mid_line_ = text[end.next - 1] != '\n';
      return end;
    }
    if (options_.separator == Separator::kLine) return {next, next};
    scan = next;
  }
}

Documents::End Documents::cut() const {
  const std::string_view text = std::string_view(text_).substr(begin_);
  size_t end = options_.max_bytes;
  const size_t space = text.find_last_of(kSpaces, end - 1);
  if (space != std::string_view::npos) {
    end = space + 1;
  } else {
    while ((static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  }
  return {end, end};
}

}  // namespace mapl::data
