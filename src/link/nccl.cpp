// Never run: no machine with two GPUs was at hand. docs/c10d.md says so.
#include "link/nccl.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "link/c10d.h"

namespace mapl::link {
namespace {

constexpr auto kLook = std::chrono::microseconds(100);  // NCCL's works tell nobody when they end

// One direction's payloads.
// WHY a group each: one group runs its operations one after another, and the two ends would wait
// for each other's first.
struct Lane {
  at::Tensor tensor;  // on the GPU; outlives the group, whose end stops what still uses it
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> group;
  c10::intrusive_ptr<c10d::Work> work;
};

class NcclWire : public Wire {
 public:
  NcclWire(std::unique_ptr<Wire> below, const c10::intrusive_ptr<c10d::Store>& store, bool is_first,
           at::Device device)
      : below_(std::move(below)), device_(device), peer_(is_first ? 1 : 0) {
    store->setTimeout(c10d::Store::kDefaultTimeout);  // the first payload may be far away
    const auto join = [&](const char* name) {
      return c10::make_intrusive<c10d::ProcessGroupNCCL>(
          c10::make_intrusive<c10d::PrefixStore>(name, store), 1 - peer_, 2);
    };
    out_.group = join(is_first ? "down" : "up");
    in_.group = join(is_first ? "up" : "down");
  }

  Status send(Channel channel, ByteSpan bytes) override {
    if (channel != Channel::kPayload) return below_->send(channel, bytes);
    return guarded([&] {
      out_.tensor = host_view(bytes.data(), bytes.size()).to(device_);
      std::vector<at::Tensor> tensors = {out_.tensor};
      out_.work = out_.group->send(tensors, peer_, 0);
      return wait(out_);
    });
  }

  Status recv(Channel channel, std::span<std::byte> bytes, double patience_seconds) override {
    if (channel != Channel::kPayload) return below_->recv(channel, bytes, patience_seconds);
    return guarded([&] {
      in_.tensor = at::empty({static_cast<int64_t>(bytes.size())},
                             at::TensorOptions().dtype(at::kByte).device(device_));
      std::vector<at::Tensor> tensors = {in_.tensor};
      in_.work = in_.group->recv(tensors, peer_, 0);
      const Status status = wait(in_);
      if (status.is_ok()) host_view(bytes.data(), bytes.size()).copy_(in_.tensor);
      return status;
    });
  }

  void abort() noexcept override {
    {
      std::lock_guard lock(mutex_);
      aborted_ = true;
    }
    changed_.notify_all();
    below_->abort();
  }

 private:
  static at::Tensor host_view(const std::byte* bytes, size_t size) {
    return at::from_blob(const_cast<std::byte*>(bytes), {static_cast<int64_t>(size)}, at::kByte);
  }

  // On a stream of its own, so that copies do not queue behind the stage's computing.
  template <typename Transfer>
  Status guarded(const Transfer& transfer) {
    try {
      const c10::cuda::CUDAStreamGuard stream(
          c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device_.index()));
      return transfer();
    } catch (const std::exception& error) {
      return {Code::kPeerLost, std::string("NCCL: ") + error.what()};
    }
  }

  // A peer that is gone shows below; NCCL itself would wait for ever.
  Status wait(Lane& lane) {
    std::unique_lock lock(mutex_);
    while (!lane.work->isCompleted()) {
      changed_.wait_for(lock, kLook, [&] { return aborted_; });
      if (aborted_) return {Code::kClosed, "this end is closed"};
    }
    lane.work->wait();  // throws what went wrong; orders the copies that follow
    return Status::ok();
  }

  const std::unique_ptr<Wire> below_;
  const at::Device device_;
  const int peer_;
  Lane out_;
  Lane in_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool aborted_ = false;
};

}  // namespace

bool has_nccl() { return true; }

std::unique_ptr<Wire> make_nccl_wire(std::unique_ptr<Wire> below,
                                     const c10::intrusive_ptr<c10d::Store>& store, bool is_first,
                                     const std::string& device) {
  at::Device gpu(device);
  if (!gpu.has_index()) gpu = at::Device(gpu.type(), 0);
  return std::make_unique<NcclWire>(std::move(below), store, is_first, gpu);
}

}  // namespace mapl::link
