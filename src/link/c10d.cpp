#include "link/c10d.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/check.h"
#include "link/c10d_link.h"
#include "link/endpoint.h"
#include "link/nccl.h"

namespace mapl::link {
namespace {

using Milliseconds = std::chrono::milliseconds;
using Group = c10::intrusive_ptr<c10d::ProcessGroupGloo>;
using Work = c10::intrusive_ptr<c10d::Work>;

constexpr double kLongestSeconds = 365 * 24 * 3600.0;  // Gloo knows no "for ever"

// Rounded up, never nothing.
Milliseconds until(Deadline deadline) {
  return std::max(Milliseconds(1), std::chrono::ceil<Milliseconds>(deadline - Clock::now()));
}

// The first line of what went wrong, without the place in the engine's sources.
std::string words_of(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  std::string text = torch == nullptr ? error.what() : torch->what_without_backtrace();
  text = text.substr(0, text.find('\n'));
  const size_t end = text.find("] ");
  return text.starts_with('[') && end != std::string::npos ? text.substr(end + 2) : text;
}

// Whether nobody came. c10d's clock is not ours, and it gives up before a try that would be too
// late.
bool is_timeout(const std::string& words, Deadline deadline) {
  return words.find("timed out") != std::string::npos || Clock::now() + Milliseconds(10) > deadline;
}

// Two process groups of two. A timeout or an error of one of Gloo's operations breaks its group's
// connection for good, so nothing here times out but a peer's silence.
class GlooWire : public Wire {
 public:
  GlooWire(std::shared_ptr<void> shared, Group control, Group payload, int peer)
      : shared_(std::move(shared)),
        control_(std::move(control)),
        payload_(std::move(payload)),
        peer_(peer) {}

  Status send(Channel channel, ByteSpan bytes) override {
    return transfer(sends_[static_cast<size_t>(channel)], kLongestSeconds, [&] {
      auto tensors = view(bytes.data(), bytes.size());
      return group(channel).send(tensors, peer_, static_cast<int>(channel));
    });
  }

  Status recv(Channel channel, std::span<std::byte> bytes, double patience_seconds) override {
    return transfer(recvs_[static_cast<size_t>(channel)], patience_seconds, [&] {
      auto tensors = view(bytes.data(), bytes.size());
      return group(channel).recv(tensors, peer_, static_cast<int>(channel));
    });
  }

  void abort() noexcept override {
    std::lock_guard lock(mutex_);
    aborted_ = true;
    for (auto* works : {&sends_, &recvs_}) {
      for (const Work& work : *works) {
        if (work) work->abort();
      }
    }
  }

 private:
  using Works = std::array<Work, kNumChannels>;

  static std::vector<at::Tensor> view(const std::byte* bytes, size_t size) {
    return {at::from_blob(const_cast<std::byte*>(bytes), {static_cast<int64_t>(size)}, at::kByte)};
  }

  c10d::ProcessGroupGloo& group(Channel channel) {
    return channel == Channel::kPayload ? *payload_ : *control_;
  }

  // Starts an operation and waits for it in `slot`, where abort() finds it. When this returns Gloo
  // is done with the memory, whatever came of the operation: a Work that goes away takes what it
  // has left undone out of Gloo's hands.
  // WHY one that is done stays until the next: Gloo's thread may still be on its way out of it, and
  // taking it away would yield the processor in a loop until it is.
  template <typename Start>
  Status transfer(Work& slot, double patience_seconds, const Start& start) {
    Status status;
    try {
      Work work;
      {
        std::lock_guard lock(mutex_);  // a group is not for several threads at once
        if (aborted_) return closed();
        slot = work = start();
      }
      const double patience = std::min(patience_seconds, kLongestSeconds);
      if (work->wait(until(in_seconds(patience)))) return Status::ok();
      status = closed();
    } catch (const std::exception& error) {
      status = {Code::kPeerLost, "the connection broke: " + words_of(error)};
    }
    std::lock_guard lock(mutex_);
    slot.reset();
    return aborted_ ? closed() : status;
  }

  static Status closed() { return {Code::kClosed, "this end is closed"}; }

  const std::shared_ptr<void> shared_;  // the store, which others may still need
  const Group control_;
  const Group payload_;
  const int peer_;  // in both groups: 0 or 1

  std::mutex mutex_;  // guards the start of operations and what follows
  bool aborted_ = false;
  Works sends_;
  Works recvs_;
};

std::shared_ptr<gloo::transport::Device> make_device(const std::string& address) {
  // PyTorch's variable, which its C++ half leaves to its Python half to read. Of several, the
  // first.
  if (const char* names = std::getenv("GLOO_SOCKET_IFNAME"); names != nullptr) {
    const std::string first(names, std::strcspn(names, ","));
    return c10d::ProcessGroupGloo::createDeviceForInterface(first);
  }
  // WHY: a run on one machine stays on it, whatever the machine's name resolves to.
  const bool is_local = !is_beyond_loopback(fmt::format("tcp://{}:0", address));
  if (is_local) return c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1");
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

void check_options(const C10dOptions& options) {
  if (options.backend != "nccl") return;
  if (!has_nccl()) {
    throw UserError(
        "link.backend is \"nccl\", and this mapl was built with a LibTorch without NCCL: use "
        "\"gloo\", or build with one that has it");
  }
  if (!options.device.starts_with("cuda")) {
    throw UserError(
        fmt::format("link.backend is \"nccl\" and training.device \"{}\": NCCL moves what is on a "
                    "GPU; use link.backend = \"gloo\", or training.device = \"cuda\"",
                    options.device));
  }
}

}  // namespace

bool has_c10d() { return true; }

struct C10dContext::Shared {
  C10dOptions options;
  c10::intrusive_ptr<c10d::TCPStore> store;
  std::shared_ptr<gloo::transport::Device> device;
  std::map<int, int> num_openings;  // of the link to each neighbour
};

C10dContext::C10dContext(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
C10dContext::~C10dContext() = default;

uint16_t C10dContext::port() const { return shared_->store->getPort(); }

Result<std::unique_ptr<C10dContext>> C10dContext::start(const C10dOptions& options,
                                                        Deadline deadline) {
  check_options(options);
  std::signal(SIGPIPE, SIG_IGN);
  const Launch& launch = options.launch;
  c10d::TCPStoreOptions store;
  store.port = launch.port;
  store.isServer = launch.hosts_store;
  store.waitWorkers = false;
  store.timeout = std::chrono::ceil<std::chrono::seconds>(until(deadline));  // drops fractions
  try {
    auto shared = std::make_shared<Shared>();
    shared->options = options;
    shared->store = c10::make_intrusive<c10d::TCPStore>(launch.address, store);
    shared->device = make_device(launch.address);
    return std::unique_ptr<C10dContext>(new C10dContext(std::move(shared)));
  } catch (const std::exception& error) {
    const std::string words = words_of(error);
    if (launch.hosts_store && words.find(std::strerror(EADDRINUSE)) != std::string::npos) {
      throw UserError(
          fmt::format("port {} of this machine, where stage 0 waits for the others, is "
                      "in use: stop the process that uses it, or set MASTER_PORT to "
                      "another for all stages",
                      launch.port));
    }
    return Status(is_timeout(words, deadline) ? Code::kTimeout : Code::kIo,
                  fmt::format("cannot reach stage 0 at {} port {} (MASTER_ADDR, MASTER_PORT): {}",
                              launch.address, launch.port, words));
  }
}

Result<std::unique_ptr<Link>> C10dContext::open(int peer, const LinkOptions& options,
                                                Deadline deadline) {
  const Launch& launch = shared_->options.launch;
  MAPL_CHECK(std::abs(peer - launch.stage) == 1, "stage {} is no neighbour of stage {}", peer,
             launch.stage);
  const int own = launch.stage < peer ? 0 : 1;  // of the two
  const auto prefix = [](const std::string& name, const c10::intrusive_ptr<c10d::Store>& store) {
    return c10::make_intrusive<c10d::PrefixStore>(name, store);
  };
  const std::string place =
      fmt::format("mapl/attempt-{}/link-{}/opening-{}", launch.attempt,
                  std::min(launch.stage, peer), shared_->num_openings[peer]++);
  const auto store = prefix(place, shared_->store);
  const auto join = [&](const std::string& name) {
    shared_->store->setTimeout(until(deadline));
    auto group = c10d::ProcessGroupGloo::Options::create(until(deadline));
    group->devices = {shared_->device};
    group->threads = 1;
    return c10::make_intrusive<c10d::ProcessGroupGloo>(prefix(name, store), own, 2, group);
  };
  try {
    Group control = join("control");
    Group payload = join("payload");
    std::unique_ptr<Wire> wire = std::make_unique<GlooWire>(shared_, control, payload, 1 - own);
    if (shared_->options.backend == "nccl") {
      wire =
          make_nccl_wire(std::move(wire), prefix("nccl", store), own == 0, shared_->options.device);
    }
    return std::unique_ptr<Link>(std::make_unique<C10dLink>(std::move(wire), options));
  } catch (const std::exception& error) {
    const std::string words = words_of(error);
    if (!is_timeout(words, deadline)) {
      return Status(Code::kIo, fmt::format("cannot connect to {}: {}", options.peer, words));
    }
    return Status(Code::kTimeout, fmt::format("{} did not connect in time: is it running? ({})",
                                              options.peer, words));
  }
}

}  // namespace mapl::link
