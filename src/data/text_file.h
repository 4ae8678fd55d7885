// Reads a text file of any size front to back, as UTF-8.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

namespace mapl::data {

enum class InvalidUtf8 {
  kRefuse,   // UserError naming file and byte offset
  kReplace,  // each malformed sequence becomes U+FFFD and is counted
};

// What `text` (not empty) starts with: the length of a well-formed UTF-8 sequence; 0 when it may be
// one that goes on after the end of `text`; -n when its first n bytes can begin no sequence
// (Unicode 15, table 3-7; n is the maximal subpart, as U+FFFD is to replace it).
int utf8_sequence(std::string_view text);

class TextFile {
 public:
  // ERRORS  UserError when the path is no readable regular file.
  TextFile(std::string path, InvalidUtf8 invalid);

  // Appends about a megabyte of text, whole characters only. False at the end, `out` untouched.
  //   ERRORS  UserError for malformed UTF-8 that is to be refused; RunError when reading fails.
  bool read(std::string& out);

  int64_t bytes_read() const { return bytes_read_; }
  int64_t num_replaced() const { return num_replaced_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void check(std::string& out);

  std::string path_;
  InvalidUtf8 invalid_;
  std::unique_ptr<std::FILE, Close> file_;
  std::string raw_;  // read and not yet handed out: starts with what an earlier block left over
  int64_t bytes_read_ = 0;
  int64_t num_replaced_ = 0;
  bool at_end_ = false;
};

}  // namespace mapl::data
