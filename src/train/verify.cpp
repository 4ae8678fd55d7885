#include "train/verify.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <map>

#include "base/status.h"
#include "train/batches.h"
#include "train/compute.h"
#include "train/reference_model.h"
#include "train/stage_group.h"

namespace mapl::train {
namespace {

struct Trained {
  std::vector<double> losses;
  std::vector<double> squared_norms;
  std::map<std::string, at::Tensor> tensors;  // "weights of <name>", "gradient of <name>"
};

void collect(Assembly& assembly, Trained& trained) {
  for (const auto& [name, value] : assembly.state()) {
    trained.tensors["weights of " + name] = value.detach().cpu();
  }
  for (const auto& parameter : assembly.parameters()) {
    const at::Tensor grad = parameter.value.grad();
    if (grad.defined()) trained.tensors["gradient of " + parameter.name] = grad.cpu();
  }
}

Trained train_in_stages(const Recipe& recipe, int64_t steps) {
  Trained trained;
  StageGroup group(recipe);
  const Status status = group.run([&](int stage, Assembly&, Trainer& trainer) {
    const Status greeted = trainer.greet().status();
    if (!greeted.is_ok()) return greeted;
    for (int64_t step = 0; step < steps; ++step) {
      const auto outcome = trainer.train(step, /*wants_stop=*/false);
      if (!outcome.is_ok()) return outcome.status();
      if (stage != 0) continue;
      trained.losses.push_back(outcome.value().loss);
      trained.squared_norms.push_back(outcome.value().squared_norm);
    }
    return Status::ok();
  });
  if (!status.is_ok()) throw RunError(status);
  for (int k = 0; k < group.num_stages(); ++k) collect(group.assembly(k), trained);
  return trained;
}

Trained train_by_reference(const Recipe& recipe, int64_t steps) {
  set_compute_threads(recipe.training.threads);
  Trained trained;
  ReferenceModel model(recipe);
  math::Optimizer optimizer(model.parameters(), optimizer_options(recipe));
  const math::LrSchedule schedule(lr_schedule_options(recipe));
  data::Batcher batcher = open_training_data(recipe);
  for (int64_t step = 0; step < steps; ++step) {
    const auto outcome = model.reference().train(
        optimizer, num_micro_batches(recipe), static_cast<uint64_t>(step),
        static_cast<double>(tokens_per_step(recipe)), schedule.factor(step, recipe.training.steps),
        [&](int) { return next_ids(recipe, batcher); });
    if (!outcome.is_ok()) throw RunError(outcome.status());
    trained.losses.push_back(outcome.value().loss);
    trained.squared_norms.push_back(outcome.value().squared_norm);
  }
  for (int k = 0; k < model.num_pieces(); ++k) collect(model.assembly(k), trained);
  return trained;
}

void compare(const std::string& what, const at::Tensor& reference, const at::Tensor& other,
             Verification& result) {
  ++result.tensors;
  if (torch::equal(reference, other)) return;
  const double largest = (reference - other).abs().max().item<double>();
  const double scale = reference.abs().max().item<double>();
  result.differences.push_back({what, largest, scale > 0 ? largest / scale : largest});
}

void compare(const std::string& what, const std::vector<double>& reference,
             const std::vector<double>& other, Verification& result) {
  for (size_t i = 0; i < reference.size(); ++i) {
    if (reference[i] == other[i]) continue;
    const double difference = std::abs(reference[i] - other[i]);
    result.differences.push_back(
        {fmt::format("{} of step {}", what, i), difference, difference / std::abs(reference[i])});
  }
}

}  // namespace

Verification verify(const Recipe& recipe, int64_t steps) {
  if (codec::has_codebooks(recipe.boundary) && recipe.boundary.rvq_warmup_steps >= steps) {
    throw UserError(fmt::format(
        "boundary.rvq_warmup_steps = {} is not over within the {} steps to be compared, and no "
        "code would be: make it smaller with --set, or compare more --steps",
        recipe.boundary.rvq_warmup_steps, steps));
  }
  const Trained reference = train_by_reference(recipe, steps);
  const Trained staged = train_in_stages(recipe, steps);
  Verification result{.losses = staged.losses, .steps = steps, .unsplit = is_lossless(recipe)};
  compare("loss", reference.losses, staged.losses, result);
  compare("squared gradient norm", reference.squared_norms, staged.squared_norms, result);
  for (const auto& [what, tensor] : reference.tensors) {
    const auto found = staged.tensors.find(what);
    if (found == staged.tensors.end()) {
      result.differences.push_back({what + " (only in the reference)"});
    } else {
      compare(what, tensor, found->second, result);
    }
  }
  for (const auto& [what, tensor] : staged.tensors) {
    if (!reference.tensors.contains(what)) {
      result.differences.push_back({what + " (only in the pipeline)"});
    }
  }
  return result;
}

}  // namespace mapl::train
