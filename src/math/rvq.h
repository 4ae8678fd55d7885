// Residual vector quantisation of rows in groups of columns (docs/maths/rvq.md; product residual
// quantisation in faiss, multi-codebook VQ in MAPL, arXiv 2606.05484).
//
// A row of R columns is S groups of d = R / S. In each group Q rounds follow each other: a round
// finds the entry nearest to what the rounds before have left, and takes it away. The row is
// decoded as the sum of its entries. One code is a number in 0..C-1; a row has S * Q.
//
//   codebook_QSCd  float32, contiguous, on the CPU: C entries for each round and group
//   code_NSQ       int32
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mapl::math {

// What a batch told about the entries: how often each was chosen, and the sum of what chose it.
struct RvqStatistics {
  at::Tensor count_QSC;  // float32
  at::Tensor sum_QSCd;   // float32

  static RvqStatistics zeros_like(const at::Tensor& codebook_QSCd);
};

// Greedy: the nearest entry round by round, the first of those that are equally near.
//   x_NR        float32, finite, on the CPU
//   statistics  added to, when given; the same bits for any number of threads
at::Tensor rvq_encode(const at::Tensor& x_NR, const at::Tensor& codebook_QSCd,
                      RvqStatistics* statistics = nullptr);

// REQUIRES: every code is in 0..C-1.
//   returns  [N, R]; the same bits for the same codes and codebook, on every machine
at::Tensor rvq_decode(const at::Tensor& code_NSQ, const at::Tensor& codebook_QSCd);

// What each round sees of each row: the row itself in round 0, then what the rounds before leave.
//   x_KR     as of rvq_encode
//   returns  [Q, S, K, d]
at::Tensor rvq_residuals(const at::Tensor& x_KR, const at::Tensor& codebook_QSCd);

struct RvqShape {
  int64_t rounds = 1;   // Q
  int64_t groups = 1;   // S; divides R
  int64_t entries = 2;  // C, at most 65536
};

// Codebooks of k-means, round by round on what the rounds before leave. Entries start from rows
// picked by the seed (with repetition when there are fewer than C); one that nothing chooses stays.
at::Tensor rvq_fit(const at::Tensor& x_NR, const RvqShape& shape, uint64_t seed, int iterations);

// Codebooks that follow the data: exponential moving averages of the statistics (van den Oord et
// al. 2017, appendix A.1; docs/maths/rvq.md, eq. 4 and 5).
class RvqAverage {
 public:
  struct Options {
    double decay = 0.99;
    // An entry is dead when its average count is below this share of an even one, N / C. It starts
    // again at a row of the batch, and its averages with it: they would draw it back otherwise.
    double dead_share = 0.05;
  };
  // Averages that stand still: an even count for each entry.
  RvqAverage(const at::Tensor& codebook_QSCd, const Options& options);

  // One batch of N rows: its statistics, and some of its rows, with what the rounds of the codebook
  // that made the statistics leave of them: dead entries start again there.
  //   left_QSKd  of rvq_residuals
  void update(const RvqStatistics& batch, int64_t num_rows, const at::Tensor& left_QSKd,
              uint64_t seed);

  // The fresh codebook.
  at::Tensor codebook() const;
  // What is averaged, for saving: written in place by whoever loads.
  RvqStatistics& averages() { return averages_; }
  const RvqStatistics& averages() const { return averages_; }

 private:
  Options options_;
  RvqStatistics averages_;
};

}  // namespace mapl::math
