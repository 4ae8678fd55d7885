// The mean of what crossed in the step before, which both ends know: it is taken off what is packed
// and put back on what was unpacked (boundary.subtract_mean; docs/codecs/mean.md).
//
// WHY: most of what an anchor leaves is one vector, the same for every token. It tells nothing, and
// it takes the range of integers and the entries of codebooks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::codec {

class Mean {
 public:
  Mean(int64_t columns, const at::Device& device);

  // [R] float32, zero at the start; written in place by whoever loads.
  at::Tensor value() const { return mean_R_; }

  // At the packing end: rows of the step under way.
  void gather(const at::Tensor& z_NR);
  // At the step's end, for the other: the mean of what was gathered. R float32.
  //   starts_again  zero in its place. WHY: the next step's columns are those of another basis, and
  //                 of the mean before the projection only its part in the old one is known.
  Bytes announce(bool starts_again);
  int64_t announced_bytes() const { return mean_R_.numel() * static_cast<int64_t>(sizeof(float)); }
  Status read_announced(ByteSpan bytes);  // kCorrupt on a wrong length or what is not finite
  void commit();                          // the mean announced is in place
  void abort();                           // or is forgotten, with what was gathered

 private:
  at::Tensor mean_R_;

  // Of the step under way.
  at::Tensor sum_R_;
  int64_t num_rows_ = 0;
  at::Tensor announced_R_;
};

}  // namespace mapl::codec
