#include "link/probe.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "link/endpoint.h"

namespace mapl::link {
namespace {

// What a probe frame is, in `packing`.
enum class Part : uint8_t { kPing = 1, kPong = 2, kFill = 3, kLast = 4, kResult = 5 };

constexpr int64_t kNumBytes = 8;

double ms(int64_t ns) { return 1e-6 * static_cast<double>(ns); }

double mbps(int64_t bytes, int64_t ns) {
  return ns > 0 ? 8e3 * static_cast<double>(bytes) / static_cast<double>(ns) : 0;
}

// One end of a probed link.
class Prober {
 public:
  Prober(Link& link, const ProbeOptions& options) : link_(link), options_(options) {}

  // Asks again and again.
  Status ping(ProbeReport& report) {
    std::vector<int64_t> trips;
    int64_t least = 0;
    for (int i = 0; i < options_.rounds; ++i) {
      const int64_t asked = now_ns();
      const int64_t asked_wall = options_.clock();
      if (Status sent = send(Part::kPing, number(0)); !sent.is_ok()) return sent;
      const auto answer = recv(Part::kPong, kNumBytes);
      if (!answer.is_ok()) return answer.status();
      trips.push_back(now_ns() - asked);
      if (i > 0 && trips.back() >= least) continue;
      least = trips.back();
      const auto theirs = read_at<int64_t>(answer.value().payload, 0);
      report.clock_ahead_ms = ms(theirs - (asked_wall + least / 2));
    }
    report.round_trip_ms = ms(least);
    std::nth_element(trips.begin(), trips.begin() + options_.rounds / 2, trips.end());
    report.median_round_trip_ms = ms(trips[static_cast<size_t>(options_.rounds / 2)]);
    return Status::ok();
  }

  Status answer_pings() {
    for (int i = 0; i < options_.rounds; ++i) {
      const auto asked = recv(Part::kPing, kNumBytes);
      if (!asked.is_ok()) return asked.status();
      if (Status sent = send(Part::kPong, number(options_.clock())); !sent.is_ok()) return sent;
    }
    return Status::ok();
  }

  // Keeps the link full until the bytes so far took long enough; the peer tells how fast they came.
  Status fill(ProbeReport& report) {
    const int64_t start = now_ns();
    const auto enough = static_cast<int64_t>(1e9 * options_.seconds);
    while (now_ns() - start < enough) {
      if (Status sent = send(Part::kFill, Bytes(kProbePayloadBytes)); !sent.is_ok()) return sent;
    }
    if (Status sent = send(Part::kLast, number(0)); !sent.is_ok()) return sent;
    const auto result = recv(Part::kResult, kNumBytes);
    if (!result.is_ok()) return result.status();
    report.send_mbps = 1e-3 * static_cast<double>(read_at<int64_t>(result.value().payload, 0));
    return Status::ok();
  }

  // From the first frame's arrival on: what came before it took no time of the filled link.
  Status take(ProbeReport& report) {
    int64_t start = 0;
    int64_t bytes = 0;
    while (true) {
      const auto frame = link_.recv(deadline());
      if (!frame.is_ok()) return frame.status();
      const Part part = static_cast<Part>(frame.value().header.packing);
      if (frame.value().header.kind != Kind::kProbe ||
          (part != Part::kFill && part != Part::kLast)) {
        return {Code::kCorrupt, "not a frame of the measurement"};
      }
      if (start == 0) {
        start = now_ns();
      } else {
        bytes += kHeaderBytes + static_cast<int64_t>(frame.value().payload.size());
      }
      if (part == Part::kLast) break;
    }
    report.recv_mbps = mbps(bytes, now_ns() - start);
    return send(Part::kResult, number(static_cast<int64_t>(1e3 * report.recv_mbps)));
  }

 private:
  Deadline deadline() const { return in_seconds(options_.timeout_seconds); }
  static Bytes number(int64_t value) {
    Bytes bytes;
    append(bytes, value);
    return bytes;
  }
  Status send(Part part, Bytes payload) {
    return link_.send({.header = {.kind = Kind::kProbe, .packing = static_cast<uint8_t>(part)},
                       .payload = std::move(payload)},
                      deadline());
  }
  Result<Frame> recv(Part part, uint64_t bytes) {
    return recv_expected(
        link_,
        {.kind = Kind::kProbe, .payload_bytes = bytes, .packing = static_cast<uint8_t>(part)},
        deadline());
  }

  Link& link_;
  const ProbeOptions& options_;
};

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// errno of a connection to the first of them: that is the one libzmq takes.
int connect_to(const addrinfo& address, Deadline deadline) {
  const int fd = ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int error = ::connect(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
    socklen_t size = sizeof(error);
    if (::poll(&ready, 1, std::max(0, static_cast<int>(left.count()))) <= 0) {
      error = ETIMEDOUT;
    } else if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
  }
  ::close(fd);
  return error;
}

}  // namespace

int64_t wall_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Result<ProbeReport> probe(Link& link, const ProbeOptions& options) {
  Prober prober(link, options);
  ProbeReport report;
  const auto first = [&] {
    const Status pinged = prober.ping(report);
    return pinged.is_ok() ? prober.fill(report) : pinged;
  };
  const auto second = [&] {
    const Status answered = prober.answer_pings();
    return answered.is_ok() ? prober.take(report) : answered;
  };
  Status status = options.leads ? first() : second();
  if (status.is_ok()) status = options.leads ? second() : first();
  if (!status.is_ok()) return status;
  return report;
}

Status knock(const std::string& endpoint, Deadline deadline) {
  constexpr std::string_view kTcp = "tcp://";
  const Status nothing(Code::kRefused, "connection refused");
  if (!endpoint.starts_with(kTcp)) return is_ipc_in_use(endpoint) ? Status::ok() : nothing;
  const size_t colon = endpoint.rfind(':');
  std::string host = endpoint.substr(kTcp.size(), colon - kTcp.size());
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_family = host.starts_with('[') ? AF_INET6 : AF_INET;  // as ZmqContext does
  std::erase_if(host, [](char c) { return c == '[' || c == ']'; });
  addrinfo* found = nullptr;
  const int unknown =
      getaddrinfo(host.c_str(), endpoint.substr(colon + 1).c_str(), &wanted, &found);
  if (unknown != 0) {
    return {Code::kIo, fmt::format("{} does not resolve: {}", host, gai_strerror(unknown))};
  }
  const Addresses addresses(found, freeaddrinfo);
  const int error = connect_to(*addresses, deadline);
  if (error == 0) return Status::ok();
  if (error == ECONNREFUSED) return nothing;
  if (error == ETIMEDOUT) return {Code::kTimeout, "no answer"};
  return {Code::kIo, std::strerror(error)};
}

}  // namespace mapl::link
