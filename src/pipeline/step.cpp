#include "pipeline/step.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <torch/torch.h>

#include <cmath>

#include "base/check.h"
#include "base/clock.h"
#include "math/stiefel.h"

namespace mapl::pipeline {
namespace {

int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

// What validation sends is not counted.
class CountingOff {
 public:
  CountingOff(PrevBoundary* prev, NextBoundary* next) : prev_(prev), next_(next) { set(false); }
  ~CountingOff() { set(true); }

 private:
  void set(bool on) {
    if (prev_) prev_->channel().set_counting(on);
    if (next_) next_->channel().set_counting(on);
  }
  PrevBoundary* prev_;
  NextBoundary* next_;
};

}  // namespace

Steps Transaction::offers() const {
  switch (phase) {
    case Phase::kOpen:
      return {finished};
    case Phase::kVoted:
      return {finished, finished + 1};
    case Phase::kApplied:
      return {finished + 1};
  }
  return {};
}

Step::Step(model::Stage& stage, Worker& worker, math::Optimizer& optimizer, PrevBoundary* prev,
           NextBoundary* next, Transaction& transaction, const Options& options)
    : worker_(worker),
      optimizer_(optimizer),
      prev_(prev),
      next_(next),
      transaction_(transaction),
      options_(options) {
  if (options.tied_bytes > 0) {
    tied_.emplace(stage.parameters(), prev ? &prev->channel() : nullptr,
                  next ? &next->channel() : nullptr, options.tied_bytes);
  }
}

Result<Step::Outcome> Step::train(const std::vector<Action>& actions, uint64_t step, double divisor,
                                  double lr_factor, const BatchSource& batches, bool wants_stop) {
  return guard(step,
               [&] { return try_train(actions, step, divisor, lr_factor, batches, wants_stop); });
}

// ON ABORT: whatever happens inside, the neighbours hear of it before this stage leaves.
Result<Step::Outcome> Step::guard(uint64_t step, const std::function<Result<Outcome>()>& body) try {
  auto outcome = body();
  if (!outcome.is_ok()) {
    if (transaction_.phase == Transaction::Phase::kOpen) abort_ends();
    transaction_.unreported += measured().traffic - counted_;
    abort(step, outcome.status());
  }
  return outcome;
} catch (const RunError& error) {
  // A value that cannot be sent: it would be the same another time.
  const Status status(Code::kRefused, error.status().message());
  abort(step, status.in(fmt::format("stage {}: step {}", options_.stage, step)));
  return status.in(fmt::format("stage {}: step {}", options_.stage, step));
} catch (const std::exception& error) {
  abort(step,
        {Code::kRefused, fmt::format("stage {}: step {}: {}", options_.stage, step, error.what())});
  throw;
}

Result<Step::Outcome> Step::try_train(const std::vector<Action>& actions, uint64_t step,
                                      double divisor, double lr_factor, const BatchSource& batches,
                                      bool wants_stop) {
  transaction_.finished = step;
  optimizer_.zero_grad();
  for_each_held(&math::HeldWeight::zero_grad);
  const auto loss = worker_.run(actions, step, divisor, batches);
  if (!loss.is_ok()) return loss.status();
  if (next_) {
    const Status status = next_->recv_sync(step);
    if (!status.is_ok()) return status;
  }
  if (prev_) {
    const Status status = prev_->send_sync(step);
    if (!status.is_ok()) return status;
  }
  if (tied_) {
    const auto sum = tied_->exchange(step);
    if (!sum.is_ok()) return sum.status();
    transaction_.tied_sum = sum.value();
  }
  for_each_held(&math::HeldWeight::before_optimizer);
  auto voted = vote(step, loss.value(), wants_stop, /*trained=*/true);
  if (!voted.is_ok()) return voted.status();
  const auto committed = commit(step, voted.value());
  if (!committed.is_ok()) return committed.status();
  const Status applied = apply(step, lr_factor, committed.value());
  if (!applied.is_ok()) return applied;
  return Outcome{.loss = committed.value().loss,
                 .squared_norm = committed.value().squared_norm,
                 .stop = committed.value().stop,
                 .reports = std::move(voted.value().reports)};
}

Result<Step::Outcome> Step::validate(const std::vector<Action>& actions, uint64_t step,
                                     double divisor, const BatchSource& batches) {
  const CountingOff off(prev_, next_);
  const Trace::Scope scope(options_.trace, {"validation"}, step);
  return guard(step, [&]() -> Result<Outcome> {
    const auto loss = worker_.run(actions, step, divisor, batches);
    if (!loss.is_ok()) return loss.status();
    abort_ends();
    auto voted = vote(step, loss.value(), /*wants_stop=*/false, /*trained=*/false);
    if (!voted.is_ok()) return voted.status();
    count_as_reported();
    return Outcome{.loss = voted.value().loss, .reports = std::move(voted.value().reports)};
  });
}

void Step::abort(uint64_t step, const Status& why) noexcept {
  const bool is_final = why.code() == Code::kRefused || why.code() == Code::kEnded;
  if (prev_) prev_->channel().abort(step, why.message(), is_final);
  if (next_) next_->channel().abort(step, why.message(), is_final);
}

Result<Vote> Step::vote(uint64_t step, double loss, bool wants_stop, bool trained) {
  Vote vote{.loss = loss, .wants_stop = wants_stop};
  const Channel::Message message{.kind = link::Kind::kVote, .step = step};
  const double angle = basis_angle();  // while the later stages are still at work
  if (next_) {
    const int later = options_.num_stages - 1 - options_.stage;
    const auto bytes = next_->channel().recv(message, vote_bytes(later));
    if (!bytes.is_ok()) return bytes.status();
    auto theirs = decode_vote(bytes.value(), later);
    if (!theirs.is_ok()) return theirs.status();
    if (theirs.value().state_hash != next_->end().state_hash()) {
      return Status(
          Code::kRefused,
          fmt::format("stage {}: step {}: the two ends of boundary {} no longer hold the "
                      "same basis ({:016x} here, {:016x} at stage {})",
                      options_.stage, step, next_->channel().options().boundary,
                      next_->end().state_hash(), theirs.value().state_hash, options_.stage + 1));
    }
    vote = std::move(theirs.value());
    vote.wants_stop |= wants_stop;
  }
  StageReport own = report();
  own.basis_angle = angle;
  if (next_) {
    const Status held = next_->check_basis(own.orthogonality_error);
    if (!held.is_ok()) return held.in(fmt::format("stage {}: step {}", options_.stage, step));
  }
  if (trained) {
    transaction_.phase = Transaction::Phase::kVoted;
    const double before = vote.squared_norm;
    vote.squared_norm = optimizer_.add_squared_norm(before);
    own.squared_norm = optimizer_.add_squared_norm(0);
  }
  vote.reports.insert(vote.reports.begin(), own);
  if (prev_) {
    Channel& channel = prev_->channel();
    if (trained) {  // the report counts the vote that carries it
      Traffic& traffic = vote.reports.front().traffic;
      traffic.sync_bytes += vote_bytes(static_cast<int>(vote.reports.size()));
      traffic.header_bytes += link::kHeaderBytes;
      reported_.traffic.sync_bytes += vote_bytes(static_cast<int>(vote.reports.size()));
      reported_.traffic.header_bytes += link::kHeaderBytes;
    }
    vote.state_hash = prev_->end().state_hash();
    const Status status = channel.send(message, encode(vote));
    if (!status.is_ok()) return status;
  }
  return vote;
}

Result<Commit> Step::commit(uint64_t step, const Vote& vote) {
  const Channel::Message message{.kind = link::Kind::kCommit, .step = step};
  Commit commit{.squared_norm = vote.squared_norm, .loss = vote.loss, .stop = vote.wants_stop};
  if (prev_) {
    const auto bytes = prev_->channel().recv(message, kCommitBytes);
    if (!bytes.is_ok()) return bytes.status();
    const auto decided = decode_commit(bytes.value());
    if (!decided.is_ok()) return decided.status();
    commit = decided.value();
  } else if (!std::isfinite(vote.loss) || !std::isfinite(vote.squared_norm)) {
    return Status(Code::kRefused,
                  fmt::format("step {}: loss {} with gradient norm {} is not finite; lower the "
                              "learning rates, set training.max_norm, or look at the data",
                              step, vote.loss, std::sqrt(vote.squared_norm)));
  }
  // INVARIANT: decided, and kept, before anybody can hear of it.
  transaction_.commit = commit;
  transaction_.reports = vote.reports;
  // WHY here: the stages after this one start their optimisers while this one runs its own.
  if (next_) {
    const Status status = next_->channel().send(message, encode(commit));
    if (!status.is_ok()) return status;
  }
  return commit;
}

Status Step::apply(uint64_t step, double lr_factor, const Commit& commit) {
  apply_own(step, lr_factor, commit);
  if (next_) {
    const Status status = next_->send_sync(step, transaction_.sync);
    if (!status.is_ok()) return status;
  }
  if (prev_) {
    const Status status = prev_->recv_sync(step);
    if (!status.is_ok()) return status;
    finish();
  }
  return Status::ok();
}

// All of a step that needs nobody else.
void Step::apply_own(uint64_t step, double lr_factor, const Commit& commit) {
  const int64_t start = now_ns();
  const Trace::Scope scope(options_.trace, {"optimiser"}, step);
  transaction_.commit = commit;
  if (tied_) tied_->share(transaction_.tied_sum);
  optimizer_.step(lr_factor, math::clip_scale(commit.squared_norm, options_.max_norm));
  for_each_held(&math::HeldWeight::after_optimizer);
  optimizer_seconds_ += 1e-9 * static_cast<double>(now_ns() - start);
  if (next_) {
    transaction_.sync = next_->end().sync(step);
    next_->end().commit();
  }
  transaction_.phase = Transaction::Phase::kApplied;
  count_as_reported();
  if (!prev_) finish();
}

// Stage 0 has this stage's latest report, and what failed attempts sent is in it.
void Step::count_as_reported() {
  transaction_.unreported = {};
  counted_ = reported_.traffic;
}

void Step::finish() {
  if (prev_) prev_->end().commit();
  ++transaction_.finished;
  transaction_.phase = Transaction::Phase::kOpen;
}

Status Step::settle(uint64_t finished, const Commit& commit, double lr_factor) {
  using Phase = Transaction::Phase;
  if (finished > transaction_.finished) {
    MAPL_CHECK(transaction_.phase != Phase::kOpen && finished == transaction_.finished + 1,
               "step {} was not offered", finished);
    if (transaction_.phase == Phase::kVoted) apply_own(finished - 1, lr_factor, commit);
  } else {
    MAPL_CHECK(transaction_.phase != Phase::kApplied && finished == transaction_.finished,
               "step {} was not offered", finished);
    abort_ends();
    transaction_.phase = Phase::kOpen;
  }
  if (finished == 0) return Status::ok();
  const bool awaits = transaction_.phase == Phase::kApplied;
  if (next_) {
    const Status status = next_->send_resync(finished - 1, transaction_.sync);
    if (!status.is_ok()) return status;
  }
  if (prev_) {
    const Status status = prev_->recv_resync(finished - 1, awaits);
    if (!status.is_ok()) return status;
    if (awaits) finish();
  }
  return Status::ok();
}

void Step::for_each_held(void (math::HeldWeight::*change)()) {
  if (options_.held == nullptr) return;
  for (math::HeldWeight& weight : *options_.held) (weight.*change)();
}

// What the ends gathered for a step that does not count, or for a validation.
void Step::abort_ends() {
  if (prev_) prev_->end().abort();
  if (next_) next_->end().abort();
}

StageReport Step::measured() const {
  StageReport total;
  total.compute_seconds = worker_.compute_seconds() + optimizer_seconds_;
  for (const Channel* channel :
       {prev_ ? &prev_->channel() : nullptr, next_ ? &next_->channel() : nullptr}) {
    if (channel == nullptr) continue;
    total.waited_seconds += channel->waited_seconds();
    total.sending_seconds += channel->sending_seconds();
    total.traffic += channel->traffic();
  }
  return total;
}

StageReport Step::report() {
  const StageReport total = measured();
  StageReport own = total;
  own.compute_seconds -= reported_.compute_seconds;
  own.waited_seconds -= reported_.waited_seconds;
  own.sending_seconds -= reported_.sending_seconds;
  own.traffic = total.traffic - counted_;
  own.traffic += transaction_.unreported;
  own.peak_rss_bytes = peak_rss_bytes();
  own.num_parameters = optimizer_.num_parameters();
  if (next_) {
    own.energy_kept = next_->end().energy_kept();
    own.orthogonality_error = next_->end().orthogonality_error();
    own.activation_usage = next_->end().activation().codebook_usage();
    own.activation_error = next_->end().activation().codebook_error();
  }
  if (prev_) {
    own.gradient_usage = prev_->end().gradient().codebook_usage();
    own.gradient_error = prev_->end().gradient().codebook_error();
  }
  reported_ = total;
  return own;
}

double Step::basis_angle() const {
  if (!prev_ || !next_ || !next_->end().basis().defined()) return StageReport().basis_angle;
  return math::principal_angles(prev_->end().basis(), next_->end().basis())
      .rad2deg()
      .mean()
      .item<double>();
}

}  // namespace mapl::pipeline
