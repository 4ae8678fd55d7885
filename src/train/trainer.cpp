#include "train/trainer.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "link/hello.h"
#include "pipeline/schedule_check.h"
#include "train/batches.h"
#include "train/version.h"

namespace mapl::train {
namespace {

constexpr const char* kDataPosition = "data.position";

pipeline::Channel::Options channel_options(const Recipe& recipe, int stage, int neighbour,
                                           pipeline::Trace* trace) {
  return {.stage = stage,
          .neighbour = neighbour,
          .boundary = std::min(stage, neighbour),
          .timeout_seconds = recipe.link.timeout_seconds,
          .trace = trace};
}

// Twice: packings keep more once they have begun.
int64_t max_state_bytes(const Recipe& recipe, int stage) {
  constexpr int64_t kHeaderRoom = 4 << 20;
  return 2 * state_bytes_at_start(recipe, stage) + kHeaderRoom;
}

template <typename End>
uint64_t payload_limit(const Recipe& recipe, End& end) {
  const auto step = static_cast<uint64_t>(
      pipeline::max_payload_bytes(end, micro_batch_shape(recipe),
                                  static_cast<int>(recipe.pipeline.stages), tied_bytes(recipe)));
  const bool mirrors = recipe.checkpoint.mirror_interval > 0;
  return std::max<uint64_t>(step, mirrors ? pipeline::kStatePieceBytes : 0);
}

// Files from elsewhere are read as hostile.
void require(const std::string& name, const at::Tensor& value, at::ScalarType type, int64_t count) {
  if (value.scalar_type() == type && value.numel() == count && value.is_contiguous()) return;
  throw UserError(
      fmt::format("{} in the checkpoint is not {} numbers of type {}; it was not saved "
                  "by mapl, or was altered since",
                  name, count, c10::toString(type)));
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, int stage, Assembly& assembly, pipeline::Trace* trace)
    : recipe_(recipe),
      stage_(stage),
      assembly_(assembly),
      trace_(trace),
      optimizer_(assembly.parameters(), optimizer_options(recipe)),
      lr_schedule_(lr_schedule_options(recipe)) {
  const auto num_stages = static_cast<int>(recipe.pipeline.stages);
  if (stage == 0) {
    train_data_.emplace(open_training_data(recipe));
    validation_data_.emplace(open_validation_data(recipe));
  }
  if (recipe.checkpoint.mirror_interval > 0) {
    const auto max_bytes = [&](int of) {
      return of >= 0 && of < num_stages ? max_state_bytes(recipe, of) : 0;
    };
    mirror_.emplace(pipeline::Mirror::Options{.stage = stage,
                                              .num_stages = num_stages,
                                              .max_prev_bytes = max_bytes(stage - 1),
                                              .max_own_bytes = max_bytes(stage),
                                              .max_next_bytes = max_bytes(stage + 1)});
  }
  const auto schedule =
      pipeline::make_schedule(recipe.pipeline.schedule, num_stages, num_micro_batches(recipe),
                              static_cast<int>(recipe.pipeline.in_flight));
  const std::string problem = pipeline::find_problem(schedule);
  MAPL_CHECK(problem.empty(), "{}", problem);
  train_actions_ = schedule.stages[static_cast<size_t>(stage)];
  const auto num_validation =
      static_cast<int>(recipe.validation.num_sequences / recipe.training.microbatch_size);
  validation_actions_ = pipeline::with_transfers(pipeline::forward_only(num_stages, num_validation))
                            .stages[static_cast<size_t>(stage)];
}

void Trainer::disconnect() {
  // In the order of use: each holds references to those after it.
  step_.reset();
  worker_.reset();
  prev_.reset();
  next_.reset();
  if (mirror_) mirror_->connect(nullptr, nullptr);
  prev_channel_.reset();
  next_channel_.reset();
  prev_link_ = nullptr;
  next_link_ = nullptr;
}

void Trainer::connect(link::Link* prev, link::Link* next) {
  disconnect();
  prev_link_ = prev;
  next_link_ = next;
  if (prev != nullptr) {
    prev_channel_.emplace(*prev, channel_options(recipe_, stage_, stage_ - 1, trace_));
    prev_.emplace(*prev_channel_, *assembly_.prev_end(), boundary_options(recipe_));
  }
  if (next != nullptr) {
    next_channel_.emplace(*next, channel_options(recipe_, stage_, stage_ + 1, trace_));
    next_.emplace(*next_channel_, *assembly_.next_end(), boundary_options(recipe_));
  }
  if (prev_channel_ && next_channel_) {
    prev_channel_->watch(&*next_channel_);
    next_channel_->watch(&*prev_channel_);
  }
  if (mirror_) {
    mirror_->connect(prev_channel_ ? &*prev_channel_ : nullptr,
                     next_channel_ ? &*next_channel_ : nullptr);
  }
  pipeline::PrevBoundary* prev_boundary = prev_ ? &*prev_ : nullptr;
  pipeline::NextBoundary* next_boundary = next_ ? &*next_ : nullptr;
  worker_.emplace(
      assembly_.stage(), prev_boundary, next_boundary,
      pipeline::Worker::Options{
          .shape = micro_batch_shape(recipe_), .device = recipe_.training.device, .trace = trace_});
  step_.emplace(assembly_.stage(), *worker_, optimizer_, prev_boundary, next_boundary, transaction_,
                pipeline::Step::Options{.stage = stage_,
                                        .num_stages = static_cast<int>(recipe_.pipeline.stages),
                                        .max_norm = recipe_.training.max_norm,
                                        .tied_bytes = tied_bytes(recipe_),
                                        .held = &assembly_.held(),
                                        .trace = trace_});
}

Result<pipeline::Resume> Trainer::greet(const Saved& saved, const std::stop_token& stop) {
  heed(stop);
  auto resume = come_together(saved, stop);
  heed({});
  if (!resume.is_ok()) {
    const Status located = resume.status().in(fmt::format("stage {}", stage_));
    give_up(located);
    return located;
  }
  return resume;
}

Result<pipeline::Resume> Trainer::come_together(const Saved& saved, const std::stop_token& stop) {
  const Status known = say_hello(stop);
  if (!known.is_ok()) return known;
  pipeline::Steps offers = transaction_.offers();
  offers.insert(offers.end(), saved.steps.begin(), saved.steps.end());
  if (mirror_) {
    const Status compared = mirror_->compare();
    if (!compared.is_ok()) return compared;
    const pipeline::Steps mirrored = mirror_->steps();
    offers.insert(offers.end(), mirrored.begin(), mirrored.end());
  }
  pipeline::Channel* prev = prev_ ? &*prev_channel_ : nullptr;
  pipeline::Channel* next = next_ ? &*next_channel_ : nullptr;
  const auto agreed = pipeline::agree(prev, next, std::move(offers));
  if (!agreed.is_ok()) return agreed.status();
  // WHY no longer: all stages are there now and wait for each other; one that left here could have
  // another step than they, or take a copy with it that they need. The coming step stops the run.
  heed({});
  const uint64_t finished = agreed.value();
  const Status brought = bring_to(finished, saved);
  if (!brought.is_ok()) return brought;
  auto resume = pipeline::pass_on(prev, next, finished,
                                  {.finished = finished,
                                   .validates = saved.validates && saved.validates(finished),
                                   .commit = transaction_.commit});
  if (!resume.is_ok()) return resume;
  const Status settled =
      step_->settle(finished, resume.value().commit,
                    finished > 0 ? lr_factor(static_cast<int64_t>(finished) - 1) : 0);
  if (!settled.is_ok()) return settled;
  const Status shared = finished == 0 ? share_bases() : Status::ok();
  return shared.is_ok() ? resume : shared;
}

void Trainer::heed(const std::stop_token& stop) {
  for (auto* channel : {&prev_channel_, &next_channel_}) {
    if (*channel) (*channel)->heed(stop);
  }
}

Status Trainer::bring_to(uint64_t finished, const Saved& saved) {
  const auto has = [&](const pipeline::Steps& steps) {
    return std::find(steps.begin(), steps.end(), finished) != steps.end();
  };
  const bool stands = has(transaction_.offers());
  if (mirror_) {
    const Status fetched = mirror_->fetch(finished, !stands && !has(saved.steps));
    if (!fetched.is_ok()) return fetched;
  }
  return stands ? Status::ok() : saved.restore(finished);
}

Status Trainer::mirror(Bytes state) {
  return mirror_->exchange(transaction_.finished, std::move(state));
}

Status Trainer::part() {
  return pipeline::agree(prev_ ? &*prev_channel_ : nullptr, next_ ? &*next_channel_ : nullptr,
                         {transaction_.finished})
      .status();
}

Status Trainer::say_hello(const std::stop_token& stop) {
  const pipeline::Trace::Scope scope(trace_, {"greeting"}, transaction_.finished);
  const auto hello = [&](int stage) {
    return link::Hello{.mapl_version = kVersion,
                       .recipe_hash = hash(recipe_),
                       .stage = static_cast<uint32_t>(stage),
                       .num_stages = static_cast<uint32_t>(recipe_.pipeline.stages)};
  };
  const auto greet = [&](link::Link* link, int neighbour, link::Link* other) {
    if (link == nullptr) return Status::ok();
    const auto look = [&] {
      if (stop.stop_requested()) return Status(Code::kClosed, "asked to stop");
      return other == nullptr ? Status::ok() : other->health();
    };
    return link::greet(*link, hello(stage_), hello(neighbour),
                       in_seconds(recipe_.link.rejoin_seconds), look)
        .in(fmt::format("greeting stage {}", neighbour));
  };
  const Status prev = greet(prev_link_, stage_ - 1, next_link_);
  return prev.is_ok() ? greet(next_link_, stage_ + 1, prev_link_) : prev;
}

// WHY: two machines can compute a start that differs in a bit; the owner's is the one that counts.
Status Trainer::share_bases() {
  if (next_) {
    const Status status = next_->send_start();
    if (!status.is_ok()) return status;
  }
  return prev_ ? prev_->recv_start() : Status::ok();
}

Result<pipeline::Step::Outcome> Trainer::train(int64_t step, bool wants_stop) {
  if (train_data_) train_data_->seek(data_position(step));
  return step_->train(
      train_actions_, static_cast<uint64_t>(step), static_cast<double>(tokens_per_step(recipe_)),
      lr_factor(step), [&](int) { return next_ids(recipe_, *train_data_); }, wants_stop);
}

Result<pipeline::Step::Outcome> Trainer::validate(int64_t step) {
  if (validation_data_) validation_data_->seek(0);
  const auto tokens = recipe_.validation.num_sequences * recipe_.training.sequence_length;
  return step_->validate(validation_actions_, static_cast<uint64_t>(step),
                         static_cast<double>(tokens),
                         [&](int) { return next_ids(recipe_, *validation_data_); });
}

pipeline::Step::Outcome Trainer::last_outcome() const {
  const pipeline::Commit& commit = transaction_.commit;
  return {.loss = commit.loss,
          .squared_norm = commit.squared_norm,
          .stop = commit.stop,
          .reports = transaction_.reports};
}

uint64_t Trainer::data_position(int64_t step) const {
  return data_start_ +
         static_cast<uint64_t>((step - data_start_step_) * recipe_.training.global_batch_size);
}

std::string Trainer::own(const char* what) const {
  return fmt::format("stage.{}.{}", stage_, what);
}

bool Trainer::drop_undecided() {
  using Phase = pipeline::Transaction::Phase;
  if (transaction_.phase == Phase::kApplied) return false;
  if (assembly_.prev_end()) assembly_.prev_end()->abort();
  if (assembly_.next_end()) assembly_.next_end()->abort();
  transaction_.phase = Phase::kOpen;
  return true;
}

math::NamedTensors Trainer::state() {
  math::NamedTensors all = assembly_.state();
  for (auto& named : optimizer_.state()) all.push_back(std::move(named));
  const pipeline::Commit& commit = transaction_.commit;
  all.emplace_back(own("commit"),
                   torch::tensor({commit.squared_norm, commit.loss}, torch::kDouble));
  at::Tensor sync = torch::empty({std::ssize(transaction_.sync)}, torch::kByte);
  std::copy(transaction_.sync.begin(), transaction_.sync.end(),
            static_cast<std::byte*>(sync.data_ptr()));
  all.emplace_back(own("sync"), sync);
  if (train_data_) {
    const auto position = static_cast<int64_t>(data_position(finished_steps()));
    all.emplace_back(kDataPosition, torch::tensor({position}, torch::kLong));
  }
  return all;
}

void Trainer::load_state(const math::NamedTensors& state, int64_t finished_steps) {
  std::vector<std::string> missing = assembly_.load(state);
  for (std::string& name : optimizer_.load_state(state)) missing.push_back(std::move(name));
  for (const std::string& name : missing) {
    if (!name.starts_with("boundary.")) {
      throw UserError(fmt::format(
          "the checkpoint of step {} has no {}: it was saved by a run of another model or "
          "optimiser, or by a mapl that saved weights only; start from its weights with "
          "--init-from",
          finished_steps, name));
    }
    spdlog::warn("stage {}: the checkpoint of step {} has no {}; it starts afresh", stage_,
                 finished_steps, name);
  }
  transaction_ = {.finished = static_cast<uint64_t>(finished_steps)};
  data_start_step_ = finished_steps;
  for (const auto& [name, value] : state) {
    if (name == own("commit")) {
      require(name, value, at::kDouble, 2);
      const auto* numbers = value.data_ptr<double>();
      transaction_.commit = {.squared_norm = numbers[0], .loss = numbers[1]};
    } else if (name == own("sync")) {
      const auto* bytes = static_cast<const std::byte*>(value.data_ptr());
      // Of a run with another codec it says nothing: all stages have its outcome from their disks.
      if (static_cast<int64_t>(value.nbytes()) <= largest_sync()) {
        transaction_.sync.assign(bytes, bytes + value.nbytes());
      }
    } else if (name == kDataPosition) {
      require(name, value, at::kLong, 1);
      data_start_ = static_cast<uint64_t>(std::max<int64_t>(value.item<int64_t>(), 0));
    }
  }
}

int64_t Trainer::largest_sync() {
  const codec::SenderEnd* end = assembly_.next_end();
  return end == nullptr ? 0 : end->most_forward_sync_bytes();
}

void Trainer::start_afresh() {
  (void)optimizer_.load_state({});
  transaction_ = {};
  data_start_ = 0;
  data_start_step_ = 0;
}

double Trainer::lr_factor(int64_t step) const {
  return lr_schedule_.factor(step, recipe_.training.steps);
}

uint64_t prev_payload_limit(const Recipe& recipe, Assembly& assembly) {
  return payload_limit(recipe, *assembly.prev_end());
}

uint64_t next_payload_limit(const Recipe& recipe, Assembly& assembly) {
  return payload_limit(recipe, *assembly.next_end());
}

}  // namespace mapl::train
