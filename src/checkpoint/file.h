// Files that are whole or absent: written beside their place and renamed, read through a mapping.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"

namespace mapl::checkpoint {

// Writes `path`.tmp; commit() makes it `path`, durably. Without commit() nothing is left behind.
//   is_contended  other processes may write the same file at once: each has a name of its own, and
//                 the last to commit wins
//   ERRORS  RunError (kIo) that names the file: full disk, no permission, no such folder.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path, bool is_contended = false);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(ByteSpan bytes);
  void commit();

 private:
  [[noreturn]] void fail(const char* action);

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

// A whole file, read only. Pages come from disk as they are touched.
//   ERRORS  UserError that names the file when it cannot be opened or is not a plain file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  ByteSpan bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Names of what is in a folder; none when it is not there. ERRORS  RunError (kIo).
std::vector<std::string> list_folder(const std::string& path);

// Makes the folder and those above it. ERRORS  RunError (kIo).
void make_folder(const std::string& path);

}  // namespace mapl::checkpoint
