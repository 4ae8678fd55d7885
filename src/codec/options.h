// What a user chooses of a boundary: the keys of [boundary] in a recipe.
#pragma once

#include <cstdint>
#include <string>

#include "codec/packing.h"

namespace mapl::codec {

struct Options {
  std::string projector = "stiefel";  // identity, frozen, free, stiefel, subspace, bottleneck
  int64_t rank = 32;                  // R; ignored by identity, whose z is x - anchor at width D
  int64_t basis_restart = 0;   // after this many steps the basis starts again from the principal
                               // directions of what crossed in them; 0: it does not
  int64_t basis_interval = 1;  // stiefel, free: the basis moves at the end of every so many steps
  std::string basis_gradient = "both";  // stiefel, free: both halves of it, or the "sender"'s alone
  std::string anchor = "factorized";    // none, static, fixed, factorized, full
  int64_t anchor_rank = 0;              // 0: the rank of the projector
  std::string anchor_sharing =
      "end";  // end: a table at each end; stage: a stage's two ends share one
  std::string first_anchor = "own";  // of stage 0: "own", its "embedding" as trained, or "fixed"
  bool sparse_anchors = false;       // update only the rows of a step's tokens
  bool subtract_mean = false;        // take off the mean of what crossed in the step before
  int64_t ngram = 0;                 // anchors for n-grams up to this length too; 0: none
  int64_t ngram_entries = 16384;     // rows of each n-gram table
  int64_t ngram_rank = 0;            // 0: the rank of the anchors
  bool reparametrised = false;       // subspace: the optimiser moves coordinates of held weights
  std::string activation = "bf16";   // packing of the leg towards the loss
  std::string gradient = "bf16";     // packing of the leg back
  int64_t group_size = 64;           // integers: columns that share a scale
  bool hadamard = false;             // integers: turn each group by a Hadamard matrix first
  int64_t topk = 8;                  // entries of a row that are sent
  bool topk_feedback = false;        // what was not sent is added to the next micro-batch
  int64_t rvq_group_size = 8;        // columns that share a code
  int64_t rvq_rounds = 3;            // codes of a group, each on what the one before left
  int64_t rvq_entries = 256;         // of each codebook
  bool rvq_normalise = true;         // send the size of each row apart from its direction
  int64_t rvq_slice_entries = 1;     // entries that each message brings up to date
  int64_t rvq_warmup_steps = 100;    // sent as bf16, before codebooks are fitted
  double rvq_decay = 0.9;            // of the moving averages that codebooks follow
};

// Whether a leg sends codes of codebooks, once its warm-up is over.
bool has_codebooks(const Options& options);

// ERRORS  UserError that names the key: unknown projector, anchor, sharing or packing; rank outside
//         1..hidden_size; a basis that starts again under codebooks; what the packings say of their
//         own keys.
void validate(const Options& options, int64_t hidden_size);

// What the packings need to know of it.
PackingOptions packing_options(const Options& options, int64_t columns);

}  // namespace mapl::codec
