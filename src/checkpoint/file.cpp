#include "checkpoint/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/clock.h"
#include "base/status.h"

namespace mapl::checkpoint {
namespace {

// WHY: connections of strangers, which a stage holds for five seconds each, can take up all numbers
// that the process may use. One of them is free again before long; a run must not end for that.
constexpr double kNumbersComeBackSeconds = 10;

template <typename Open>
int open_in_time(const Open& open) {
  const auto deadline = in_seconds(kNumbersComeBackSeconds);
  while (true) {
    const int descriptor = open();
    const bool none_left = descriptor < 0 && (errno == EMFILE || errno == ENFILE);
    if (!none_left || Clock::now() >= deadline) return descriptor;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// A rename is on disk only when its folder is.
int sync_folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int descriptor = open_in_time(
      [&] { return ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY); });
  if (descriptor < 0) return -1;
  const int result = ::fsync(descriptor);
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  return result;
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path, bool is_contended)
    : path_(path), temporary_(path + (is_contended ? ".tmp-XXXXXX" : ".tmp")) {
  if (is_contended) {
    const std::string pattern = temporary_;
    descriptor_ = open_in_time([&] {
      temporary_ = pattern;
      return ::mkostemp(temporary_.data(), O_CLOEXEC);
    });
    if (descriptor_ >= 0) (void)::fchmod(descriptor_, 0644);
  } else {
    descriptor_ = open_in_time(
        [&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); });
  }
  if (descriptor_ < 0) fail("open");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    bytes = bytes.subspan(written);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail("write");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename");
  ::close(descriptor_);
  descriptor_ = -1;
  if (sync_folder_of(path_) != 0) fail("sync the folder of");
}

void AtomicFile::fail(const char* action) {
  const int reason = errno;
  const char* advice = reason == ENOSPC || reason == EDQUOT || reason == EFBIG
                           ? "; make room, or set checkpoint.folder to another disk"
                           : "";
  throw RunError(Status(
      Code::kIo, fmt::format("cannot {} {}: {}{}", action, path_, std::strerror(reason), advice)));
}

MappedFile::MappedFile(const std::string& path) {
  const auto refuse = [&](const char* reason) {
    throw UserError(fmt::format("cannot read {}: {}", path, reason));
  };
  const int descriptor = open_in_time([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); });
  if (descriptor < 0) refuse(std::strerror(errno));
  struct stat info = {};
  const bool plain = ::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode);
  if (plain && info.st_size > 0) {
    size_ = info.st_size;
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
  }
  const int reason = errno;
  ::close(descriptor);
  if (!plain) refuse("it is not a file");
  if (data_ == MAP_FAILED) refuse(std::strerror(reason));
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(data_, size_);
}

std::vector<std::string> list_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::directory_iterator entries;
  (void)open_in_time([&] {
    entries = std::filesystem::directory_iterator(path, error);
    errno = error.value();
    return error ? -1 : 0;
  });
  std::vector<std::string> names;
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
    return names;
  }
  if (error) {
    throw RunError(Status(
        Code::kIo, fmt::format("cannot look into the folder {}: {}", path, error.message())));
  }
  for (const auto& entry : entries) names.push_back(entry.path().filename().string());
  return names;
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error)
    throw RunError(
        Status(Code::kIo, fmt::format("cannot make the folder {}: {}", path, error.message())));
}

}  // namespace mapl::checkpoint
