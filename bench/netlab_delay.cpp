// A line with a latency: two network interfaces, each in a network namespace of its own, joined so
// that a frame sent into one comes out of the other, whole and in order, a fixed time later.
//
//   netlab-delay MILLISECONDS NAMESPACE DEVICE NAMESPACE DEVICE
//
// The devices are new tap interfaces (Ethernet frames, like veth) that go when the process ends. It
// says what went wrong and exits with 1, or goes into the background once the devices are there,
// and ends with SIGTERM. scripts/netlab starts one for each boundary. The bandwidth is none of its
// business: a token bucket on each device has spaced the frames before they come here.
//
// WHY a process: the kernel's own means is the queueing discipline netem, which not every kernel
// has. WHY tap: the kernel segments and checksums in software for a tap device, so every frame here
// is one that a wire would carry, and it is no longer charged to the sender's socket; TCP would
// otherwise take a frame that is under way for one that waits to leave, and send no more.
//
// A frame's time counts from when it is read. The process runs at real-time priority, so that it
// wakes at once on a busy machine. It looks at its devices no more than once in kTurnNs: waking for
// every frame costs more than carrying it. So a frame on an idle line is late by microseconds, one
// among many by up to two turns. Queues are bounded; a full one makes frames wait in the device's
// queue, which drops like any other when it overflows.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

constexpr size_t kMaxFrameBytes = 2048;   // more than 1500 with an Ethernet header and a VLAN tag
constexpr size_t kMaxFrames = 16 * 1024;  // 100 ms at 2 Gbit/s in frames of 1514 bytes
constexpr int kFramesPerTurn = 32;        // read from one device before the other has its turn
constexpr int64_t kTurnNs = 250'000;
constexpr int kPriority = 10;  // above every ordinary process, below the kernel's own

int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

timespec to_timespec(int64_t ns) {
  return {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
}

std::runtime_error failed(const std::string& what) {
  return std::runtime_error(what + ": " + std::strerror(errno));
}

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// A new tap interface in a named namespace, which this thread enters for good.
Descriptor open_tap(const std::string& name_space, const std::string& device) {
  const std::string path = "/run/netns/" + name_space;
  const Descriptor place(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (place.get() < 0 || setns(place.get(), CLONE_NEWNET) != 0) throw failed(path);
  Descriptor tap(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (tap.get() < 0) throw failed("/dev/net/tun");
  ifreq request{};
  if (device.size() >= sizeof(request.ifr_name)) throw std::runtime_error(device + ": too long");
  std::copy(device.begin(), device.end(), request.ifr_name);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL);
  if (ioctl(tap.get(), TUNSETIFF, &request) != 0) throw failed(device + " in " + name_space);
  return tap;
}

// One direction of the line: first in, first out.
class Direction {
 public:
  Direction(int from, int to, int64_t latency_ns)
      : from_(from), to_(to), latency_ns_(latency_ns), frames_(new Frame[kMaxFrames]) {}

  bool is_full() const { return num_frames_ == kMaxFrames; }

  // Takes what waits at the entry. True if that was not all.
  bool read_frames() {
    for (int i = 0; i < kFramesPerTurn && !is_full(); ++i) {
      Frame& frame = frames_[(first_ + num_frames_) % kMaxFrames];
      const ssize_t size = read(from_, frame.bytes.data(), frame.bytes.size());
      if (size < 0 && errno == EAGAIN) return false;
      if (size < 0) throw failed("reading a frame");
      frame.size = static_cast<size_t>(size);
      frame.due_ns = now_ns() + latency_ns_;
      ++num_frames_;
    }
    return !is_full();
  }

  void write_due_frames() {
    while (num_frames_ > 0 && frames_[first_].due_ns <= now_ns()) {
      const Frame& frame = frames_[first_];
      // A device that is down, or that has no memory, loses the frame: so does a wire.
      (void)!write(to_, frame.bytes.data(), frame.size);
      first_ = (first_ + 1) % kMaxFrames;
      --num_frames_;
    }
  }

  std::optional<int64_t> next_due_ns() const {
    if (num_frames_ == 0) return std::nullopt;
    return frames_[first_].due_ns;
  }

 private:
  struct Frame {
    int64_t due_ns;
    size_t size;
    std::array<char, kMaxFrameBytes> bytes;
  };

  const int from_;
  const int to_;
  const int64_t latency_ns_;
  const std::unique_ptr<Frame[]> frames_;  // a ring; its pages are there once they are used
  size_t first_ = 0;
  size_t num_frames_ = 0;
};

// How long poll() may wait; without a value for ever.
std::optional<timespec> time_to_next(const std::array<Direction, 2>& line) {
  std::optional<int64_t> due;
  for (const Direction& direction : line) {
    const auto next = direction.next_due_ns();
    if (next && (!due || *next < *due)) due = next;
  }
  if (!due) return std::nullopt;
  return to_timespec(std::max<int64_t>(0, *due - now_ns()));
}

[[noreturn]] void carry(int left, int right, int64_t latency_ns) {
  std::array<Direction, 2> line{Direction(left, right, latency_ns),
                                Direction(right, left, latency_ns)};
  std::array<pollfd, 2> entries{pollfd{.fd = left, .events = POLLIN, .revents = 0},
                                pollfd{.fd = right, .events = POLLIN, .revents = 0}};
  int64_t turn_ns = now_ns();
  while (true) {
    // A full queue reads no more; the next frame that leaves makes room.
    for (size_t i = 0; i < 2; ++i) entries[i].events = line[i].is_full() ? 0 : POLLIN;
    const auto wait = time_to_next(line);
    if (ppoll(entries.data(), entries.size(), wait ? &*wait : nullptr, nullptr) < 0 &&
        errno != EINTR) {
      throw failed("poll");
    }
    const timespec next_turn = to_timespec(turn_ns + kTurnNs);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next_turn, nullptr);
    turn_ns = now_ns();
    bool more = true;
    while (more) {
      more = false;
      for (Direction& direction : line) {
        direction.write_due_frames();
        more = direction.read_frames() || more;
      }
    }
  }
}

// Real-time, above whatever computes on this machine.
void take_priority() {
  const sched_param parameter{.sched_priority = kPriority};
  if (sched_setscheduler(0, SCHED_FIFO, &parameter) != 0) {
    std::fprintf(stderr, "netlab-delay: warning: no real-time priority (%s): frames may be late\n",
                 std::strerror(errno));
  }
}

int64_t parse_ns(const char* text) {
  char* end = nullptr;
  const double milliseconds = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(milliseconds >= 0.0 && milliseconds <= 10'000.0)) {
    throw std::runtime_error(std::string(text) + " is no number of milliseconds up to 10000");
  }
  return static_cast<int64_t>(milliseconds * 1e6);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 6) {
    std::fprintf(stderr, "usage: netlab-delay MILLISECONDS NAMESPACE DEVICE NAMESPACE DEVICE\n");
    return 2;
  }
  const int64_t latency_ns = parse_ns(argv[1]);
  const Descriptor left = open_tap(argv[2], argv[3]);
  const Descriptor right = open_tap(argv[4], argv[5]);
  take_priority();
  if (daemon(0, 0) != 0) throw failed("going into the background");
  carry(left.get(), right.get(), latency_ns);
} catch (const std::exception& error) {
  std::fprintf(stderr, "netlab-delay: error: %s\n", error.what());
  return 1;
}
