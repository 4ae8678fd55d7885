#include "train/fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

#include "model/presets.h"
#include "train/fields_toml.h"
#include "train/recipe_methods.h"

namespace mapl::train {
namespace {

constexpr bool kLocal = false;  // `shared` of keys on which stages may differ

std::vector<Field> model_fields(Recipe& recipe) {
  model::Config& m = recipe.model;
  return {
      {"preset",
       &recipe.preset,
       "what the keys below start from",
       {.choices = model::preset_names(), .shared = kLocal}},
      {"hidden_size", &m.hidden_size, "width of the residual stream", {.least = 1}},
      {"num_hidden_layers", &m.num_hidden_layers, "transformer blocks", {.least = 1}},
      {"num_attention_heads",
       &m.num_attention_heads,
       "query heads; must divide hidden_size",
       {.least = 1}},
      {"num_key_value_heads",
       &m.num_key_value_heads,
       "must divide num_attention_heads",
       {.least = 1}},
      {"intermediate_size", &m.intermediate_size, "width of the MLP", {.least = 1}},
      {"vocab_size",
       &m.vocab_size,
       "token ids; shards hold them in 16 bits",
       {.least = 1, .most = 65536}},
      {"rope_theta", &m.rope_theta, "base of the rotary embedding", {.most = 1e12}},
      {"rms_norm_eps", &m.rms_norm_eps, "added to the mean square"},
      {"tie_word_embeddings", &m.tie_word_embeddings, "whether the head is the embedding"},
  };
}

std::vector<Field> data_fields(Recipe& recipe) {
  Recipe::Data& d = recipe.data;
  return {
      {"train",
       &d.train,
       "token shards: a path or a glob; read by stage 0 only",
       {.shared = kLocal}},
      {"validation", &d.validation, "the same, for the validation loss", {.shared = kLocal}},
      {"tokenizer",
       &d.tokenizer,
       "SentencePiece .model that made the tokens, as a note: nothing reads it yet",
       {.shared = kLocal}},
  };
}

std::vector<Field> training_fields(Recipe& recipe) {
  Recipe::Training& t = recipe.training;
  return {
      {"steps", &t.steps, "optimiser steps", {.least = 1}},
      {"sequence_length", &t.sequence_length, "tokens of a sequence", {.least = 1}},
      {"global_batch_size", &t.global_batch_size, "sequences of a step", {.least = 1}},
      {"microbatch_size",
       &t.microbatch_size,
       "sequences that cross a boundary together; must divide global_batch_size",
       {.least = 1}},
      {"seed",
       &t.seed,
       "of the initial weights, the order of the data and stochastic rounding",
       {.most = std::numeric_limits<double>::infinity()}},
      {"max_norm", &t.max_norm, "gradients are scaled down to this global norm; 0 = never"},
      {"warmup_steps", &t.warmup_steps, "steps over which the learning rate climbs"},
      {"decay",
       &t.decay,
       "how the learning rate falls afterwards",
       {.choices = {"linear", "cosine", "none"}}},
      {"decay_start",
       &t.decay_start,
       "fraction of the steps at the full learning rate",
       {.most = 1}},
      {"final_lr_fraction",
       &t.final_lr_fraction,
       "of the full learning rate, at the last step",
       {.most = 1}},
      {"device", &t.device, "where tensors live", {.choices = {"cpu", "cuda"}, .shared = kLocal}},
      {"threads",
       &t.threads,
       "compute threads of each stage",
       {.least = 1, .most = 4096, .shared = kLocal}},
      {"init_from",
       &t.init_from,
       "Run folder, checkpoint or safetensors file whose weights to start from; empty: from the "
       "seed",
       {.shared = kLocal}},
  };
}

constexpr double kMostBeta = 0.999999;  // averages that forget nothing never start

std::vector<Field> optimizer_fields(Recipe& recipe) {
  Recipe::Optimizer& o = recipe.optimizer;
  return {
      {"muon_lr", &o.muon_lr, "learning rate of the matrices inside the blocks"},
      {"muon_momentum", &o.muon_momentum, "Nesterov momentum", {.most = kMostBeta}},
      {"muon_weight_decay", &o.muon_weight_decay, "decoupled"},
      {"adamw_lr", &o.adamw_lr, "learning rate of embedding, head, gains and anchors"},
      {"adamw_beta1", &o.adamw_beta1, "decay of the mean gradient", {.most = kMostBeta}},
      {"adamw_beta2", &o.adamw_beta2, "decay of the mean square", {.most = kMostBeta}},
      {"adamw_eps", &o.adamw_eps, "added to the root of the mean square"},
      {"adamw_weight_decay", &o.adamw_weight_decay, "decoupled"},
      {"projector_lr_scale", &o.projector_lr_scale,
       "learning rate of the projectors, as a multiple of muon_lr"},
      {"projector_momentum", &o.projector_momentum, "of the projectors", {.most = kMostBeta}},
  };
}

std::vector<Field> pipeline_fields(Recipe& recipe) {
  Recipe::Pipeline& p = recipe.pipeline;
  return {
      {"stages", &p.stages, "pieces that the model is cut into", {.least = 1, .most = 65535}},
      {"schedule", &p.schedule, "order of the work", {.choices = {"gpipe", "1f1b"}}},
      {"layers_per_stage",
       &p.layers_per_stage,
       "one number per stage; empty: as equal as can be",
       {.least = 1}},
      {"in_flight", &p.in_flight,
       "micro-batches under way at stage 0; 0: as many as the schedule asks for"},
  };
}

std::vector<Field> boundary_fields(Recipe& recipe) {
  codec::Options& b = recipe.boundary;
  return {
      {"method",
       &recipe.method,
       "what projector, anchor and the packings start from",
       {.choices = method_names(), .shared = kLocal}},
      {"projector", &b.projector, "identity, frozen, free, stiefel, subspace or bottleneck"},
      {"rank",
       &b.rank,
       "columns that cross; at most hidden_size; identity ignores it",
       {.least = 1}},
      {"basis_restart", &b.basis_restart,
       "steps after which the basis starts again from the principal directions of what crossed; "
       "0 = never"},
      {"basis_interval",
       &b.basis_interval,
       "stiefel, free: the basis moves, and crosses, at the end of every so many steps",
       {.least = 1}},
      {"basis_gradient", &b.basis_gradient,
       "both: its two halves; sender: the sender's alone, which turns the basis within its span"},
      {"anchor", &b.anchor,
       "what both ends know of a token: none, static, fixed, factorized or full"},
      {"anchor_rank", &b.anchor_rank, "of factorized anchors; 0: that of the projector"},
      {"anchor_sharing", &b.anchor_sharing,
       "end: a table at each end of a boundary; stage: the two ends of a stage share one"},
      {"first_anchor", &b.first_anchor,
       "anchor of the sender on stage 0: own; embedding, the model's as it is trained; or fixed, "
       "as "
       "it was at the start (subspace: always)"},
      {"reparametrised", &b.reparametrised,
       "subspace: the optimiser moves the coordinates of held weights, not the weights"},
      {"sparse_anchors", &b.sparse_anchors,
       "update only the rows of an anchor's table that a step's tokens read"},
      {"subtract_mean", &b.subtract_mean,
       "take the mean of what crossed in the step before off what crosses; both ends know it"},
      {"ngram",
       &b.ngram,
       "anchors for n-grams up to this length too, in hashed tables; 0 = none",
       {.most = 8}},
      {"ngram_entries", &b.ngram_entries, "rows of each n-gram table", {.least = 1}},
      {"ngram_rank", &b.ngram_rank, "of the n-gram tables; 0 = that of the anchors"},
      {"activation", &b.activation,
       "packing of the leg towards the loss: f32, bf16, int8, int6, int5, int4, topk or rvq"},
      {"gradient", &b.gradient, "packing of the leg back: the same"},
      {"group_size", &b.group_size, "integers: columns that share a scale", {.least = 1}},
      {"hadamard", &b.hadamard,
       "integers: turn each group by a Hadamard matrix first; group_size a power of two"},
      {"topk", &b.topk, "topk: entries of a row that are sent", {.least = 1}},
      {"topk_feedback", &b.topk_feedback, "topk: add what was not sent to the next micro-batch"},
      {"rvq_group_size",
       &b.rvq_group_size,
       "rvq: columns that share a code; divides the columns that cross",
       {.least = 1}},
      {"rvq_rounds",
       &b.rvq_rounds,
       "rvq: codes of a group, each on what the one before left",
       {.least = 1, .most = 64}},
      {"rvq_entries", &b.rvq_entries, "rvq: entries of a codebook", {.least = 2, .most = 65536}},
      {"rvq_normalise", &b.rvq_normalise,
       "rvq: send the size of each row apart from its direction, one byte"},
      {"rvq_slice_entries",
       &b.rvq_slice_entries,
       "rvq: entries of every codebook that each message brings up to date",
       {.least = 1, .most = 65536}},
      {"rvq_warmup_steps",
       &b.rvq_warmup_steps,
       "rvq: steps in bf16 before codebooks are fitted; below training.steps, above basis_restart",
       {.least = 1}},
      {"rvq_decay",
       &b.rvq_decay,
       "rvq: of the moving averages that codebooks follow",
       {.most = kMostBeta}},
  };
}

std::vector<Field> link_fields(Recipe& recipe) {
  Recipe::Link& l = recipe.link;
  return {
      {"kind",
       &l.kind,
       "zmq: a process per stage; inproc: a thread per stage; c10d: a process per stage that "
       "torchrun, mpirun or Slurm starts",
       {.choices = {"zmq", "inproc", "c10d"}, .shared = kLocal}},
      {"backend",
       &l.backend,
       "c10d: what carries payloads; nccl needs a GPU per stage and a LibTorch that has it",
       {.choices = {"gloo", "nccl"}, .shared = kLocal}},
      {"bandwidth_mbps",
       &l.bandwidth_mbps,
       "simulated, Mbit/s of each direction of each boundary, what TCP and Ethernet add counted; "
       "0 = not limited",
       {.shared = kLocal}},
      {"latency_ms", &l.latency_ms, "simulated, milliseconds one way", {.shared = kLocal}},
      {"meter",
       &l.meter,
       "pipelined: latency overlaps with transmission, as on a real link; serial: it does not",
       {.choices = {"pipelined", "serial"}, .shared = kLocal}},
      {"connect_seconds",
       &l.connect_seconds,
       "how long a stage waits at the start for its neighbours to be there",
       {.least = 0.001, .shared = kLocal}},
      {"rejoin_seconds",
       &l.rejoin_seconds,
       "how long a stage waits for a neighbour that was lost to come back",
       {.least = 0.001, .shared = kLocal}},
      {"timeout_seconds",
       &l.timeout_seconds,
       "a neighbour that answers heartbeats and sends nothing else for so long has failed",
       {.least = 0.001, .shared = kLocal}},
      {"stages",
       &l.stages,
       "for runs across machines: an {endpoint, next_endpoint, public_key} for each stage; empty: "
       "all "
       "stages on this machine",
       {.shared = kLocal}},
  };
}

std::vector<Field> validation_fields(Recipe& recipe) {
  Recipe::Validation& v = recipe.validation;
  return {
      {"interval", &v.interval, "steps between validations; 0 = only at the end"},
      {"num_sequences",
       &v.num_sequences,
       "sequences that the validation loss is the mean over",
       {.least = 1}},
  };
}

std::vector<Field> checkpoint_fields(Recipe& recipe) {
  Recipe::Checkpoint& c = recipe.checkpoint;
  return {
      {"interval", &c.interval, "steps between checkpoints; 0 = only at the end"},
      {"mirror_interval", &c.mirror_interval, "steps between copies to a neighbour; 0 = none"},
      {"keep_latest_k",
       &c.keep_latest_k,
       "older checkpoints to keep beside the latest, at least 2; 0 = all",
       {.shared = kLocal}},
      {"folder", &c.folder, "inside the Run folder, unless absolute", {.shared = kLocal}},
  };
}

std::vector<Field> metrics_fields(Recipe& recipe) {
  return {
      {"log_freq",
       &recipe.metrics.log_freq,
       "steps between lines of metrics.jsonl",
       {.least = 1, .shared = kLocal}},
  };
}

std::string range_of(const Field& field) {
  if (!field.rules.choices.empty()) return fmt::format("{}", fmt::join(field.rules.choices, ", "));
  const bool is_number = std::holds_alternative<int64_t*>(field.target) ||
                         std::holds_alternative<double*>(field.target);
  if (!is_number) return "";
  return field.rules.most >= 1e9 ? fmt::format(">= {}", field.rules.least)
                                 : fmt::format("{} to {}", field.rules.least, field.rules.most);
}

}  // namespace

std::vector<Field> fields(Recipe& recipe) {
  std::vector<Field> all;
  const auto add = [&](const char* section, std::vector<Field> keys) {
    for (Field& field : keys) {
      field.section = section;
      all.push_back(std::move(field));
    }
  };
  add("model", model_fields(recipe));
  add("data", data_fields(recipe));
  add("training", training_fields(recipe));
  add("optimizer", optimizer_fields(recipe));
  add("pipeline", pipeline_fields(recipe));
  add("boundary", boundary_fields(recipe));
  add("link", link_fields(recipe));
  add("validation", validation_fields(recipe));
  add("checkpoint", checkpoint_fields(recipe));
  add("metrics", metrics_fields(recipe));
  return all;
}

std::string markdown() {
  Recipe defaults;
  std::string text;
  std::string section;
  for (const Field& field : fields(defaults)) {
    if (field.section != section) {
      section = field.section;
      text += fmt::format(
          "\n## [{}]\n\n| key | type | default | range | shared | meaning |\n"
          "| --- | --- | --- | --- | --- | --- |\n",
          section);
    }
    const std::string type = std::holds_alternative<std::vector<Recipe::Peer>*>(field.target)
                                 ? "a list of tables"
                                 : expected_type(field);
    text += fmt::format("| `{}` | {} | `{}` | {} | {} | {} |\n", field.key, type, to_toml(field),
                        range_of(field), field.rules.shared ? "yes" : "no", field.help);
  }
  return text;
}

}  // namespace mapl::train
