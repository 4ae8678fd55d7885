// Everything that determines a run: one struct, one TOML file. docs/recipe.md lists every key.
//
// The member `section.key` here is the key of section [section] there ([boundary] is
// codec::Options, [model] is model::Config); fields.cpp is the one list that parse, print, diff,
// hash and docs read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "model/config.h"

namespace mapl::train {

struct Recipe {
  std::string preset = "tiny";  // [model] preset: what `model` starts from
  model::Config model;

  struct Data {
    std::string train;       // shards: a path or a glob; needed by stage 0 only
    std::string validation;  // the same
    std::string tokenizer;   // SentencePiece .model; may be empty
  } data;

  struct Training {
    int64_t steps = 400;
    int64_t sequence_length = 256;   // tokens
    int64_t global_batch_size = 16;  // sequences per step
    int64_t microbatch_size = 4;     // sequences
    int64_t seed = 0;
    double max_norm = 0.0;  // gradients are scaled down to this global norm; 0 = never
    int64_t warmup_steps = 30;
    std::string decay = "linear";  // linear, cosine, none
    double decay_start = 0.4;      // fraction of `steps` after which the learning rate decays
    double final_lr_fraction = 0.05;
    std::string device = "cpu";
    int64_t threads = 1;    // compute threads of each stage
    std::string init_from;  // Run, checkpoint or safetensors file whose weights to start from
  } training;

  struct Optimizer {
    double muon_lr = 0.02;  // 2-D weights of the blocks
    double muon_momentum = 0.95;
    double muon_weight_decay = 0.0;
    double adamw_lr = 0.01;  // embedding, head, gains, anchors
    double adamw_beta1 = 0.9;
    double adamw_beta2 = 0.95;
    double adamw_eps = 1e-10;
    double adamw_weight_decay = 0.0;
    double projector_lr_scale = 0.1;  // lr of the projectors over muon_lr
    double projector_momentum = 0.9;
  } optimizer;

  struct Pipeline {
    int64_t stages = 4;
    std::string schedule = "1f1b";          // gpipe, 1f1b
    std::vector<int64_t> layers_per_stage;  // empty: as equal as can be
    int64_t in_flight = 0;  // micro-batches under way at stage 0; 0: the schedule's own
  } pipeline;

  std::string method = "mapl";  // [boundary] method: what `boundary` starts from
  codec::Options boundary;

  struct Peer {
    std::string endpoint;       // tcp://host:port that the stage listens at, for the one before it
    std::string next_endpoint;  // the same for the one after it, which then needs none
    std::string public_key;     // CURVE, Z85; secrets never stand in a recipe
  };
  struct Link {
    std::string kind = "zmq";         // zmq, c10d: a process per stage; inproc: a thread each
    std::string backend = "gloo";     // c10d: gloo, nccl
    double bandwidth_mbps = 0.0;      // of each direction of each boundary; 0 = not limited
    double latency_ms = 0.0;          // one way
    std::string meter = "pipelined";  // pipelined, serial
    double rejoin_seconds = 600.0;    // how long to wait for a neighbour that was lost
    double connect_seconds = 60.0;    // how long to wait at the start for the neighbours
    double timeout_seconds = 600.0;   // a neighbour that lives may compute this long
    std::vector<Peer> stages;         // one each, for runs across machines; empty: this machine
  } link;

  struct Validation {
    int64_t interval = 0;  // steps; 0 = only at the end
    int64_t num_sequences = 64;
  } validation;

  struct Checkpoint {
    int64_t interval = 0;                // steps; 0 = only at the end
    int64_t mirror_interval = 0;         // steps; 0 = never
    int64_t keep_latest_k = 2;           // 0 = keep all
    std::string folder = "checkpoints";  // inside the Run folder, unless absolute
  } checkpoint;

  struct Metrics {
    int64_t log_freq = 1;  // steps
  } metrics;
};

// Reads a recipe; each override is "section.key=value", the value as TOML (bare words are strings).
// Keys win over the preset and the method of their own source, overrides over the file, later
// overrides over earlier ones. The result has passed validate().
//   ERRORS  UserError: no such file, not TOML, unknown section or key (names the nearest), wrong
//   type
//           (with file and line), or what validate() says.
Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides = {});

// The same from text; `name` is how errors call it.
Recipe parse_recipe(const std::string& text, const std::string& name,
                    const std::vector<std::string>& overrides = {});

// The complete recipe as TOML; parse_recipe(print(r)) equals r.
std::string print(const Recipe& recipe);

// "section.key: a -> b", a line for each key that differs; empty when the recipes are equal.
//   shared_only  of the keys that the stages of a run must agree on
std::string diff(const Recipe& from, const Recipe& to, bool shared_only = false);

// Of all that the stages of a run must agree on; paths, links, threads and how often to log are
// left out.
uint64_t hash(const Recipe& recipe);

// Checks across fields. ERRORS  UserError that names the keys, the values and what to do.
void validate(const Recipe& recipe);

}  // namespace mapl::train
