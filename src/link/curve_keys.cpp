#include "link/curve_keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "base/check.h"

namespace mapl::link {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr mode_t kOthers = S_IRWXG | S_IRWXO;

class File {
 public:
  File(const std::string& path, int flags)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, S_IRUSR | S_IWUSR)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

// REQUIRES: errno is that of the failed call.
Status io_error(const std::string& what, const std::string& path) {
  return {Code::kIo, fmt::format("cannot {} {}: {}", what, path, std::strerror(errno))};
}

Status write_whole(const std::string& path, std::string_view text) {
  const File file(path, O_WRONLY | O_CREAT | O_EXCL);
  if (file.fd() < 0) return io_error("create", path);
  const ssize_t written = ::write(file.fd(), text.data(), text.size());
  if (written < 0) return io_error("write", path);
  if (static_cast<size_t>(written) != text.size()) {
    return {Code::kIo, fmt::format("cannot write {}: the disk is full", path)};
  }
  return ::fsync(file.fd()) == 0 ? Status::ok() : io_error("write", path);
}

}  // namespace

CurveIdentity generate_identity() {
  std::array<char, kKeyCharacters + 1> public_key{};
  std::array<char, kKeyCharacters + 1> secret_key{};
  const int rc = zmq_curve_keypair(public_key.data(), secret_key.data());
  MAPL_CHECK(rc == 0, "libzmq was built without CURVE: {}", zmq_strerror(zmq_errno()));
  return {public_key.data(), secret_key.data()};
}

bool is_key(const std::string& text) {
  std::array<uint8_t, kKeyBytes> bytes{};
  return text.size() == kKeyCharacters && zmq_z85_decode(bytes.data(), text.c_str()) != nullptr;
}

std::string public_key_of(const std::string& secret_key) {
  std::array<char, kKeyCharacters + 1> public_key{};
  if (!is_key(secret_key) || zmq_curve_public(public_key.data(), secret_key.c_str()) != 0) {
    throw UserError(
        "the secret key is not one of 40 characters: make a new pair with `mapl keygen`");
  }
  return public_key.data();
}

std::string to_z85(ByteSpan bytes) {
  MAPL_CHECK(bytes.size() % 4 == 0, "Z85 encodes groups of 4 bytes, not {}", bytes.size());
  std::string text(bytes.size() / 4 * 5 + 1, '\0');
  zmq_z85_encode(text.data(), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  text.pop_back();
  return text;
}

Status write_secret_key(const std::string& path, const CurveIdentity& identity) {
  const std::string draft = fmt::format("{}.{}.new", path, ::getpid());
  Status status = write_whole(draft, identity.secret_key + "\n");
  bool exists = false;
  // link() gives the finished file its name, and unlike rename() never over an old one.
  if (status.is_ok() && ::link(draft.c_str(), path.c_str()) != 0) {
    exists = errno == EEXIST;
    status = io_error("create", path);
  }
  ::unlink(draft.c_str());
  if (exists) {
    throw UserError(fmt::format(
        "{} exists: a key in use is not overwritten; remove the file or choose another", path));
  }
  return status;
}

CurveIdentity read_secret_key(const std::string& path) {
  const File file(path, O_RDONLY);
  struct stat info {};
  if (file.fd() < 0 || ::fstat(file.fd(), &info) != 0) {
    throw UserError(fmt::format("cannot read the secret key {}: {}; make one with `mapl keygen`",
                                path, std::strerror(errno)));
  }
  if ((info.st_mode & kOthers) != 0) {
    throw UserError(fmt::format(
        "the secret key {} has mode {:o}: others can read or change it; run chmod 600 {}", path,
        info.st_mode & 07777, path));
  }
  std::array<char, kKeyCharacters + 2> text{};
  const ssize_t size = ::read(file.fd(), text.data(), text.size());
  std::string key(text.data(), size > 0 ? static_cast<size_t>(size) : 0);
  if (key.ends_with('\n')) key.pop_back();
  if (!is_key(key)) {
    throw UserError(fmt::format(
        "{} does not hold a secret key of 40 characters and a newline; make one with `mapl keygen`",
        path));
  }
  return {public_key_of(key), key};
}

}  // namespace mapl::link
