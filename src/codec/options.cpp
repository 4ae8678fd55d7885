#include "codec/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/status.h"
#include "codec/anchor.h"
#include "codec/projector.h"

namespace mapl::codec {
namespace {

void require_known(const char* key, const std::string& value,
                   const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  throw UserError(
      fmt::format("unknown boundary.{} \"{}\"; known: {}", key, value, fmt::join(known, ", ")));
}

void require_rank(const char* key, int64_t rank, int64_t hidden_size) {
  if (rank >= 1 && rank <= hidden_size) return;
  throw UserError(fmt::format("boundary.{} is {}; it must be in 1..{} (model.hidden_size)", key,
                              rank, hidden_size));
}

}  // namespace

PackingOptions packing_options(const Options& options, int64_t columns) {
  return {.columns = columns,
          .group_size = options.group_size,
          .hadamard = options.hadamard,
          .topk = options.topk,
          .topk_feedback = options.topk_feedback,
          .rvq_group_size = options.rvq_group_size,
          .rvq_rounds = options.rvq_rounds,
          .rvq_normalise = options.rvq_normalise,
          .rvq_slice_entries = options.rvq_slice_entries,
          .rvq_entries = options.rvq_entries,
          .rvq_warmup_steps = options.rvq_warmup_steps,
          .rvq_decay = options.rvq_decay};
}

bool has_codebooks(const Options& options) {
  return options.activation == "rvq" || options.gradient == "rvq";
}

void validate(const Options& options, int64_t hidden_size) {
  require_known("projector", options.projector, projector_names());
  require_known("anchor", options.anchor, anchor_names());
  require_known("basis_gradient", options.basis_gradient, {"both", "sender"});
  require_known("first_anchor", options.first_anchor, {"own", "embedding", "fixed"});
  require_known("anchor_sharing", options.anchor_sharing, {"end", "stage"});
  require_known("activation", options.activation, packing_names());
  require_known("gradient", options.gradient, packing_names());
  // Tables of n-grams without a rank of their own have that of the anchors.
  const bool ngrams_ask = options.ngram >= 2 && options.ngram_rank == 0;
  const bool anchor_takes_rank =
      options.anchor_rank == 0 && (options.anchor == "factorized" || ngrams_ask);
  if (options.projector != "identity" || anchor_takes_rank) {
    require_rank("rank", options.rank, hidden_size);
  }
  if (options.anchor_rank != 0) require_rank("anchor_rank", options.anchor_rank, hidden_size);
  const bool is_fixed = options.anchor == "fixed" && options.ngram < 2;
  if (options.projector == "subspace" && !is_fixed && options.anchor_sharing != "stage") {
    throw UserError(fmt::format(
        "boundary.projector = \"subspace\" holds weights so that nothing is lost; with "
        "boundary.anchor = \"{}\" and boundary.ngram = {} a stage must subtract what it "
        "added: set boundary.anchor_sharing = \"stage\", or use \"fixed\" without n-grams",
        options.anchor, options.ngram));
  }
  if (options.basis_interval < 1) {
    throw UserError(fmt::format("boundary.basis_interval is {}; it must be at least 1 (every step)",
                                options.basis_interval));
  }
  const std::vector<std::string> restarts = {"frozen", "free", "stiefel"};
  if (options.basis_restart != 0 &&
      std::find(restarts.begin(), restarts.end(), options.projector) == restarts.end()) {
    throw UserError(fmt::format(
        "boundary.basis_restart is {}; projector \"{}\" has no basis to start again (0 = off)",
        options.basis_restart, options.projector));
  }
  if (has_codebooks(options) && options.basis_restart != 0 &&
      options.basis_restart >= options.rvq_warmup_steps) {
    throw UserError(fmt::format(
        "boundary.basis_restart is {} and boundary.rvq_warmup_steps is {}: codebooks would be of a "
        "basis that is gone; let the basis start again before the warm-up is over",
        options.basis_restart, options.rvq_warmup_steps));
  }
  if (options.first_anchor == "fixed" && options.anchor == "none") {
    throw UserError(
        "boundary.first_anchor = \"fixed\" needs an anchor at the other ends: boundary.anchor is "
        "\"none\"");
  }
  if (options.first_anchor == "embedding" &&
      (options.anchor == "none" || options.anchor_sharing == "stage" ||
       options.projector == "subspace")) {
    throw UserError(
        "boundary.first_anchor = \"embedding\" needs an anchor at every end: not anchor = "
        "\"none\", not anchor_sharing = \"stage\"; nor projector = \"subspace\", which holds "
        "weights around the embedding of the start");
  }
  if (options.ngram_rank != 0) require_rank("ngram_rank", options.ngram_rank, hidden_size);
  const int64_t columns = options.projector == "identity" ? hidden_size : options.rank;
  for (const std::string& packing : {options.activation, options.gradient}) {
    make_packing(packing, packing_options(options, columns));
  }
}

}  // namespace mapl::codec
