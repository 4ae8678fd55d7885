// A function of token ids that both ends of a boundary know and that never crosses the wire: the
// sender subtracts its own from the activations, the receiver adds its own
// (docs/codecs/stiefel.md).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "math/parameter.h"

namespace mapl::codec {

class Anchor {
 public:
  virtual ~Anchor() = default;

  // ids_N int64 -> [N, D] float32, a new tensor in the graph of the table.
  //
  // The backward adds straight into the table's .grad(), row by row in the order of the ids.
  virtual at::Tensor lookup(const at::Tensor& ids_N) = 0;

  // (x - lookup(ids)) A -> [N, R], in the graph of x, A and the table.
  virtual at::Tensor project_residual(const at::Tensor& x_ND, const at::Tensor& ids_N,
                                      const at::Tensor& basis_DR);

  virtual std::vector<math::Parameter> parameters() = 0;  // empty when nothing is trained
  virtual math::NamedTensors state() = 0;                 // the same and what is frozen
};

struct AnchorOptions {
  std::string name;         // global prefix of its tensors, e.g. "boundary.2.sender.anchor"
  std::string kind;         // none, static, fixed, factorized, full
  int64_t rank = 32;        // of factorized
  uint64_t seed = 0;        // of what is frozen: the same at both ends of a boundary
  at::Tensor embedding_VD;  // what trained tables start from; its device and shape are the anchor's
  at::Tensor table_VD;  // if defined: in the place of `kind`, a table that another trains and saves
  bool sparse = false;  // trained tables: update only the rows of a step's tokens

  int ngram = 0;                  // the longest n-gram that has a table; below 2: none
  int64_t ngram_entries = 16384;  // rows of each such table
  int64_t ngram_rank = 32;
  int64_t sequence_length = 1;  // T: ids are windows of T tokens, and no n-gram reaches beyond
};

// Null for "none" without n-grams. Tensors are <name>.table (trained, but for static) and
// <name>.projection (factorized).
//
//   static      table [V, D] of Gaussian numbers as large as the embedding's (root mean square);
//               frozen
//   fixed       table [V, D], the embedding of the start; frozen
//   factorized  table E [V, r], E = embedding P^T at the start; projection P [r, D], orthonormal
//               rows, frozen
//   full        table [V, D], the embedding at the start
//
// With n-grams, for each n in 2..ngram: <name>.ngram_<n>.table [entries, rank], zero at the start,
// trained sparsely, read at the hash of the n tokens that end at a place; and .projection, frozen.
//
//   ERRORS  UserError for an unknown kind; names the known ones.
std::shared_ptr<Anchor> make_anchor(const AnchorOptions& options);
std::vector<std::string> anchor_names();

// Adds the tables for n-grams to `tokens`, which may be null. Called by make_anchor.
std::shared_ptr<Anchor> with_ngrams(std::shared_ptr<Anchor> tokens, const AnchorOptions& options);

// For each place the row of an n-gram table: a hash of (ids[t], ids[t-1], ..., ids[t-n+1]), where
// what is before the window counts as a token of its own. Of no seed: saved tables fit any run.
//   ids_N    int64, windows of sequence_length ids, one after the other
//   returns  [N], int64, in 0..entries-1
at::Tensor ngram_rows(const at::Tensor& ids_N, int n, int64_t sequence_length, int64_t entries);

}  // namespace mapl::codec
