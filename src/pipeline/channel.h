// A Link as a stage uses it: waits that end when the other neighbour fails, bytes counted where
// they cross, and errors that say which stage, neighbour, step, micro-batch and direction.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "link/link.h"
#include "pipeline/trace.h"

namespace mapl::pipeline {

// Bytes that this stage sent, since the start. Sums over stages are sums over boundaries, each
// counted once.
struct Traffic {
  int64_t activation_bytes = 0;  // packed z
  int64_t gradient_bytes = 0;    // packed gradient of z
  int64_t token_id_bytes = 0;
  int64_t sync_bytes = 0;  // votes, commits, bases and their gradients, tied gradients
  int64_t header_bytes = 0;

  Traffic& operator+=(const Traffic& other);
  Traffic operator-(const Traffic& other) const;
  int64_t total() const;
};

class Channel {
 public:
  struct Options {
    int stage = 0;
    int neighbour = 1;
    int boundary = 0;              // 0 between stages 0 and 1
    double timeout_seconds = 600;  // a live neighbour may take this long to compute
    Trace* trace = nullptr;
  };
  // REQUIRES: link outlives the channel.
  Channel(link::Link& link, const Options& options) : link_(link), options_(options) {}

  // While this channel waits, a failure that `other` knows of ends the wait. May be null.
  void watch(Channel* other) { other_ = other; }
  // While this channel waits, a request to stop ends the wait (kClosed). None by default: a step
  // under way is finished first.
  void heed(std::stop_token stop) { stop_ = std::move(stop); }

  struct Message {
    link::Kind kind;
    uint64_t step = 0;
    uint32_t micro_batch = 0;
    uint8_t packing = 0;
  };
  // Frees the payload when it is on the wire. Of an activation, the first `token_id_bytes` are
  // token ids.
  Status send(const Message& message, Bytes payload, int64_t token_id_bytes = 0);
  // Waits for exactly this message with exactly this many bytes.
  Result<Bytes> recv(const Message& message, int64_t payload_bytes);

  // The same with at most this many bytes.
  Result<Bytes> recv_at_most(const Message& message, int64_t payload_bytes);

  // Tells the neighbour that this step has failed, if it still listens, and lets the words leave.
  //   is_final  this stage ends; it does not wait for a new link
  void abort(uint64_t step, const std::string& why, bool is_final) noexcept;

  // "stage 1: receiving activation of step 3, micro-batch 0, from stage 0"
  std::string where(const Message& message, bool sending) const;

  const Traffic& traffic() const { return traffic_; }
  // Off while validation runs: Traffic is that of training.
  void set_counting(bool on) { counting_ = on; }
  double waited_seconds() const { return waited_seconds_; }    // in recv, since the start
  double sending_seconds() const { return sending_seconds_; }  // in send, since the start
  double blocked_seconds() const { return waited_seconds_ + sending_seconds_; }
  const Options& options() const { return options_; }

 private:
  Result<Bytes> recv(const Message& message, const link::Expected& expected);
  void count(link::Kind kind, int64_t bytes, int64_t token_id_bytes);
  // Looked at by whoever waits here: a failure must cross this stage.
  Status reason_to_end(const Message& message, bool sending) const;

  link::Link& link_;
  Options options_;
  Channel* other_ = nullptr;
  std::stop_token stop_;
  Traffic traffic_;
  bool counting_ = true;
  double waited_seconds_ = 0;
  double sending_seconds_ = 0;
};

}  // namespace mapl::pipeline
