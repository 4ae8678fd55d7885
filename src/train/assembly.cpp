#include "train/assembly.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/rng.h"
#include "model/names.h"

namespace mapl::train {
namespace {

// `place` names what shares the anchor's frozen projection P: a boundary, or the whole run. WHY not
// one P for all boundaries: each then restores the same directions of what a token is, and no
// others.
std::shared_ptr<codec::Anchor> anchor_for(const Recipe& recipe, const codec::Options& boundary,
                                          const std::string& name, const std::string& place,
                                          const at::Tensor& borrowed_VD = {}) {
  const int64_t anchor_rank = boundary.anchor_rank > 0 ? boundary.anchor_rank : boundary.rank;
  return codec::make_anchor(
      {.name = name,
       .kind = boundary.anchor,
       .rank = anchor_rank,
       .seed = derive_seed(static_cast<uint64_t>(recipe.training.seed), place),
       .embedding_VD = model::initial_value(recipe.model, "model.embed_tokens.weight",
                                            static_cast<uint64_t>(recipe.training.seed))
                           .to(recipe.training.device),
       .table_VD = borrowed_VD,
       .sparse = boundary.sparse_anchors,
       .ngram = static_cast<int>(boundary.ngram),
       .ngram_entries = boundary.ngram_entries,
       .ngram_rank = boundary.ngram_rank > 0 ? boundary.ngram_rank : anchor_rank,
       .sequence_length = recipe.training.sequence_length});
}

codec::EndOptions end_options(const Recipe& recipe, int64_t boundary,
                              std::shared_ptr<codec::Anchor> anchor) {
  return {.codec = recipe.boundary,
          .boundary = boundary,
          .hidden_size = recipe.model.hidden_size,
          .rows = micro_batch_shape(recipe).rows(),
          .seed = static_cast<uint64_t>(recipe.training.seed),
          .device = recipe.training.device,
          .anchor = std::move(anchor)};
}

// Muon moves the matrices of the blocks; AdamW the embedding, the head and the gains.
math::Rule rule_of(const std::string& name, const at::Tensor& value) {
  const bool in_block = name.starts_with("model.layers.");
  return in_block && value.dim() == 2 ? math::Rule::kMuon : math::Rule::kAdamW;
}

// Whatever writes into the residual stream before a boundary of a subspace projector. WHY not the
// last stage: nothing of it crosses.
//   basis_DR  of the boundary after the stage
//   fixed_VD  what the stage's sender subtracts of a token, on stage 0
std::vector<math::HeldWeight> held_weights(const Recipe& recipe, const model::Stage& stage,
                                           const at::Tensor& basis_DR, const at::Tensor& fixed_VD) {
  std::vector<math::HeldWeight> held;
  for (const auto& [name, value] : stage.parameters()) {
    const bool embeds = name == model::kEmbedding;
    const bool writes = name.ends_with(".o_proj.weight") || name.ends_with(".down_proj.weight");
    if (!embeds && !writes) continue;
    held.emplace_back(math::Parameter{name, value, rule_of(name, value)},
                      math::HeldWeight::Options{.basis_DR = basis_DR,
                                                .by_rows = embeds,
                                                .fixed = embeds ? fixed_VD : at::Tensor(),
                                                .reparametrised = recipe.boundary.reparametrised});
  }
  return held;
}

}  // namespace

Assembly::Assembly(const Recipe& recipe, int stage) {
  const auto spans =
      model::cut(recipe.model, recipe.pipeline.stages, recipe.pipeline.layers_per_stage);
  const model::Span span = spans.at(static_cast<size_t>(stage));
  stage_ = std::make_unique<model::Stage>(
      model::Stage::Options{.config = recipe.model,
                            .span = span,
                            .seed = static_cast<uint64_t>(recipe.training.seed),
                            .device = recipe.training.device});
  const bool first = stage == 0;
  const bool last = stage + 1 == recipe.pipeline.stages;
  const int64_t before = span.first_layer;
  const int64_t after = span.first_layer + span.num_layers;
  codec::Options anchors = recipe.boundary;
  if (first && (anchors.projector == "subspace" || anchors.first_anchor == "fixed")) {
    // Weights of a subspace are held around the embedding of the start: that and nothing else is
    // what leaves a residual in it.
    anchors.anchor = "fixed";
    anchors.ngram = 0;
  }
  const bool shared = anchors.anchor_sharing == "stage";
  const auto of_stage =
      shared ? anchor_for(recipe, anchors, fmt::format("stage.{}.anchor", before), "run") : nullptr;
  const auto of_boundary = [&](int64_t boundary, const char* end, const at::Tensor& borrowed_VD) {
    const std::string place = fmt::format("boundary.{}", boundary);
    return shared ? of_stage
                  : anchor_for(recipe, anchors, place + "." + end + ".anchor", place, borrowed_VD);
  };
  const bool borrows = first && recipe.boundary.first_anchor == "embedding";
  const at::Tensor borrowed_VD = borrows ? stage_->parameters().front().second : at::Tensor();
  if (!first) {
    prev_end_ = std::make_unique<codec::ReceiverEnd>(
        end_options(recipe, before, of_boundary(before, "receiver", {})));
  }
  if (!last) {
    const auto anchor = of_boundary(after, "sender", borrowed_VD);
    next_end_ = std::make_unique<codec::SenderEnd>(end_options(recipe, after, anchor));
    if (anchors.projector == "subspace") {
      const at::Tensor fixed_VD = first ? anchor->state().front().second : at::Tensor();
      held_ = held_weights(recipe, *stage_, next_end_->basis(), fixed_VD);
    }
  }
}

std::vector<math::Parameter> Assembly::parameters() {
  std::vector<math::Parameter> all;
  std::set<std::string> seen;  // WHY: an anchor shared by the stage's two ends is one parameter
  const auto add = [&](const math::Parameter& parameter) {
    if (seen.insert(parameter.name).second) all.push_back(parameter);
  };
  if (prev_end_) {
    for (const auto& parameter : prev_end_->parameters()) add(parameter);
  }
  for (const auto& [name, value] : stage_->parameters()) {
    const auto held = std::find_if(held_.begin(), held_.end(), [&](const math::HeldWeight& weight) {
      return weight.parameter().name == name;
    });
    if (held != held_.end()) {
      all.push_back(held->parameter());
    } else {
      add({name, value, rule_of(name, value)});
    }
  }
  if (next_end_) {
    for (const auto& parameter : next_end_->parameters()) add(parameter);
  }
  return all;
}

math::NamedTensors Assembly::state() {
  math::NamedTensors all;
  std::set<std::string> seen;
  const auto add = [&](const math::NamedTensors& tensors) {
    for (const auto& named : tensors) {
      if (seen.insert(named.first).second) all.push_back(named);
    }
  };
  if (prev_end_) add(prev_end_->state());
  add(stage_->parameters());
  for (const math::HeldWeight& weight : held_) add(weight.state());
  if (next_end_) add(next_end_->state());
  return all;
}

std::vector<std::string> Assembly::load(const math::NamedTensors& tensors) {
  const torch::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  std::set<std::string> missing;
  for (auto& [name, value] : state()) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) {
      missing.insert(name);
      continue;
    }
    if (found->second.sizes() != value.sizes()) {
      throw UserError(
          fmt::format("{} has {} numbers in the weights and {} in the recipe's model; "
                      "use the recipe that the weights were trained with",
                      name, found->second.numel(), value.numel()));
    }
    value.copy_(found->second);
  }
  // Each stage makes the basis of its sender, and machines round differently.
  constexpr double kRounded = 1e-5;
  if (!held_.empty() && prev_end_ &&
      !torch::allclose(prev_end_->basis(), next_end_->basis(), /*rtol=*/0, kRounded)) {
    throw UserError(
        "boundary.projector = \"subspace\" has one basis for all boundaries, and these weights "
        "have "
        "one for each; start from weights of a subspace, or of a run without projectors");
  }
  for (math::HeldWeight& weight : held_) {
    bool coordinates_too = true;
    // Coordinates follow from a weight: without them nothing is amiss.
    for (const auto& [name, value] : weight.state()) coordinates_too = missing.erase(name) == 0;
    weight.after_load(coordinates_too);
  }
  return {missing.begin(), missing.end()};
}

math::Optimizer::Options optimizer_options(const Recipe& recipe) {
  const Recipe::Optimizer& from = recipe.optimizer;
  const double projector_lr = from.muon_lr * from.projector_lr_scale;
  return {.muon = {.lr = from.muon_lr,
                   .momentum = from.muon_momentum,
                   .weight_decay = from.muon_weight_decay},
          .adamw = {.lr = from.adamw_lr,
                    .beta1 = from.adamw_beta1,
                    .beta2 = from.adamw_beta2,
                    .eps = from.adamw_eps,
                    .weight_decay = from.adamw_weight_decay},
          .spel = {.lr = projector_lr, .momentum = from.projector_momentum},
          .free_basis = {.lr = projector_lr, .momentum = from.projector_momentum, .aspect = false}};
}

math::LrSchedule::Options lr_schedule_options(const Recipe& recipe) {
  return {.warmup_steps = recipe.training.warmup_steps,
          .decay = recipe.training.decay,
          .decay_start = recipe.training.decay_start,
          .final_fraction = recipe.training.final_lr_fraction};
}

pipeline::MicroBatchShape micro_batch_shape(const Recipe& recipe) {
  return {.batch = recipe.training.microbatch_size,
          .sequence_length = recipe.training.sequence_length,
          .vocab_size = recipe.model.vocab_size};
}

pipeline::BoundaryOptions boundary_options(const Recipe& recipe) {
  return {.shape = micro_batch_shape(recipe),
          .codec = recipe.boundary,
          .seed = static_cast<uint64_t>(recipe.training.seed)};
}

int64_t tied_bytes(const Recipe& recipe) {
  const model::Config& config = recipe.model;
  return config.tie_word_embeddings ? config.vocab_size * config.hidden_size * 4 : 0;
}

int num_micro_batches(const Recipe& recipe) {
  return static_cast<int>(recipe.training.global_batch_size / recipe.training.microbatch_size);
}

int64_t state_bytes_at_start(const Recipe& recipe, int stage) {
  Assembly assembly(recipe, stage);
  const math::Optimizer optimizer(assembly.parameters(), optimizer_options(recipe));
  int64_t bytes = 0;
  for (const auto& [name, value] : assembly.state()) bytes += static_cast<int64_t>(value.nbytes());
  for (const auto& [name, value] : optimizer.state()) bytes += static_cast<int64_t>(value.nbytes());
  return bytes;
}

int64_t tokens_per_step(const Recipe& recipe) {
  return recipe.training.global_batch_size * recipe.training.sequence_length;
}

}  // namespace mapl::train
