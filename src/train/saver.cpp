#include "train/saver.h"

#include <pthread.h>
#include <sys/resource.h>
#include <torch/torch.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"

namespace mapl::train {
namespace {

// Behind the computing threads, and deaf to signals that are for the thread that owns the stage.
void stay_behind() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  setpriority(PRIO_PROCESS, 0, 10);  // 0: this thread, on Linux
}

}  // namespace

Saver::~Saver() {
  if (writing_.valid()) writing_.wait();
}

void Saver::save(int64_t step, const checkpoint::NamedTensors& tensors) {
  wait();
  checkpoint::NamedTensors copy;
  for (const auto& [name, tensor] : tensors) {
    copy.emplace_back(name, tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true));
  }
  writing_ = std::async(std::launch::async, [this, step, copy = std::move(copy)] {
    stay_behind();
    const int64_t keep = options_.keep_latest_k;
    if (keep > 0) checkpoint::prune(options_.root, options_.stage, step, keep);
    checkpoint::save_stage(options_.root, step, options_.stage, options_.num_stages, copy,
                           options_.metadata);
  });
}

void Saver::forget_after(int64_t step) {
  wait();
  checkpoint::set_aside_after(options_.root, options_.stage, step);
}

void Saver::wait() {
  if (writing_.valid()) writing_.get();
}

void Saver::pass_over_damaged() {
  std::vector<uint64_t> left = steps();
  while (!left.empty() && !load(left.back()).is_ok()) left.pop_back();
}

std::vector<uint64_t> Saver::steps() const {
  std::vector<uint64_t> all;
  for (const int64_t step :
       checkpoint::resumable_steps(options_.root, options_.stage, options_.num_stages)) {
    const auto number = static_cast<uint64_t>(step);
    if (std::find(damaged_.begin(), damaged_.end(), number) == damaged_.end()) {
      all.push_back(number);
    }
  }
  return all;
}

Result<checkpoint::NamedTensors> Saver::load(uint64_t step) try {
  return checkpoint::load_for_stage(options_.root, static_cast<int64_t>(step), options_.stage,
                                    options_.num_stages);
} catch (const UserError& error) {
  spdlog::warn("passed over: {}", error.what());
  damaged_.push_back(step);
  return Status(Code::kIo, error.what());
}

}  // namespace mapl::train
