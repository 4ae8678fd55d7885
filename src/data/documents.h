// Streams the documents of text files, one at a time, in memory bounded by the longest document.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_file.h"

namespace mapl::data {

enum class Separator {
  kEntry,  // a blank line before an unindented line ends a document
  kLine,   // every line is a document
  kFile,   // every file is a document
  kMark,   // a line equal to Options::mark ends a document, and belongs to none
};

enum class Whitespace {
  kFold,  // runs of ASCII white space become one space; none at either end
  kKeep,  // as it stands, without the line ends that close the document
};

// Documents without any visible character are skipped. A document longer than max_bytes is cut at
// the last white space before that length (or else between two characters); its parts count as
// documents.
class Documents {
 public:
  struct Options {
    Separator separator = Separator::kEntry;
    std::string mark{};  // for kMark, without the line end
    Whitespace whitespace = Whitespace::kFold;
    InvalidUtf8 invalid_utf8 = InvalidUtf8::kRefuse;
    int64_t max_bytes = int64_t{1} << 20;  // at least 4, the longest character
  };

  Documents(std::vector<std::string> paths, Options options);

  // The next document, or false after the last one.
  //   ERRORS  those of TextFile.
  bool next(std::string& document);

  int64_t bytes_read() const;
  int64_t num_replaced() const;

 private:
  // Where, counted from begin_, the current document ends and the text after it begins.
  struct End {
    size_t document;
    size_t next;
  };

  bool open_next();
  bool refill();
  End find_end();
  End cut() const;

  std::vector<std::string> paths_;
  Options options_;
  size_t next_path_ = 0;
  std::unique_ptr<TextFile> file_;
  int64_t closed_bytes_ = 0;     // of the files before file_
  int64_t closed_replaced_ = 0;  // the same
  std::string text_;             // of file_, from some point before begin_
  size_t begin_ = 0;             // where the current document starts in text_
  bool mid_line_ = false;        // begin_ is not the start of a line: a long document was cut there
};

}  // namespace mapl::data
