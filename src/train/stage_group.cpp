#include "train/stage_group.h"

#include <exception>
#include <thread>

#include "train/compute.h"
#include "train/run.h"

namespace mapl::train {
namespace {

// fn(stage) on a thread each; the first exception is thrown again when all have ended.
void for_each_stage(int num_stages, const std::function<void(int)>& fn) {
  std::vector<std::exception_ptr> errors(static_cast<size_t>(num_stages));
  {
    std::vector<std::jthread> threads;
    for (int k = 0; k < num_stages; ++k) {
      threads.emplace_back([&, k] {
        try {
          fn(k);
        } catch (...) {
          errors[static_cast<size_t>(k)] = std::current_exception();
        }
      });
    }
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace

StageGroup::StageGroup(const Recipe& recipe) : recipe_(recipe) {
  const auto num_stages = static_cast<int>(recipe.pipeline.stages);
  const std::string& from = recipe.training.init_from;
  const auto weights = from.empty() ? math::NamedTensors() : load_weights(from);
  for (int k = 0; k < num_stages; ++k) {
    assemblies_.push_back(std::make_unique<Assembly>(recipe_, k));
    if (!from.empty()) start_from(weights, from, k, *assemblies_.back());
  }
  if (recipe.link.kind == "inproc") {
    links_ = make_inproc_links(recipe_, assemblies_);
  } else if (recipe.link.kind == "c10d") {
    open_c10d_links();
  } else {
    open_zmq_links();
  }
  for (int k = 0; k < num_stages; ++k) {
    const StageLinks& links = links_[static_cast<size_t>(k)];
    trainers_.push_back(std::make_unique<Trainer>(recipe_, k, assembly(k)));
    trainers_.back()->connect(links.prev.get(), links.next.get());
  }
}

void StageGroup::open_zmq_links() {
  endpoints_ = std::make_unique<LocalEndpoints>(num_stages());
  recipe_.link.stages = endpoints_->peers();
  context_ = std::make_unique<link::ZmqContext>();
  links_.resize(assemblies_.size());
  for_each_stage(num_stages(), [&](int k) {
    auto opened = open_links(recipe_, k, limits_of(recipe_, assembly(k)), *context_,
                             {.seconds = recipe_.link.connect_seconds});
    if (!opened.is_ok()) throw RunError(opened.status());
    links_[static_cast<size_t>(k)] = std::move(opened.value());
  });
}

void StageGroup::open_c10d_links() {
  link::Launch launch{.launcher = "mapl", .num_stages = num_stages(), .address = "127.0.0.1"};
  const auto start = [this](const link::Launch& one) {
    auto started = start_c10d(recipe_, one);
    if (!started.is_ok()) throw RunError(started.status());
    return std::move(started.value());
  };
  launch.hosts_store = true;
  const std::unique_ptr<link::C10dContext> first = start(launch);
  launch.hosts_store = false;
  launch.port = first->port();
  links_.resize(assemblies_.size());
  for_each_stage(num_stages(), [&](int k) {
    link::Launch own = launch;
    own.stage = k;
    const std::unique_ptr<link::C10dContext> other = k > 0 ? start(own) : nullptr;
    auto opened = train::open_c10d_links(recipe_, k, assembly(k), other ? *other : *first,
                                         recipe_.link.connect_seconds);
    if (!opened.is_ok()) throw RunError(opened.status());
    links_[static_cast<size_t>(k)] = std::move(opened.value());
  });
}

Status StageGroup::run(const Body& body) {
  std::vector<Status> statuses(assemblies_.size());
  for_each_stage(num_stages(), [&](int k) {
    set_compute_threads(recipe_.training.threads);
    statuses[static_cast<size_t>(k)] = body(k, assembly(k), trainer(k));
  });
  Status first = Status::ok();
  for (const Status& status : statuses) {
    if (status.is_ok()) continue;
    if (status.code() != Code::kAborted && status.code() != Code::kEnded) return status;
    if (first.is_ok()) first = status;
  }
  return first;
}

}  // namespace mapl::train
