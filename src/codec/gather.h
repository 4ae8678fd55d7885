// Rows of a trained table.
#pragma once

#include <ATen/core/Tensor.h>

#include "math/parameter.h"

namespace mapl::codec {

// table[ids], in autograd; equals torch::embedding, but for the backward, which adds each row's
// gradient straight into table.grad(). Nothing of the table's size is made or passed over per
// micro-batch, and the order of the additions is that of the ids, then of the micro-batches.
//
//   table_VR  a leaf, float32 or float64
//   ids_N     int64, each in 0..V-1
//   returns   [N, R], new memory
//
// WHY .grad() is written here: a dense gradient of a 32,000 x 256 table is 32 MB, several times the
// activations of a micro-batch. Consequence: use backward(), not grad(), on graphs with a gather.
//
//   touched  told of the rows that get a gradient; may be null; must live as long as the graph
at::Tensor gather_rows(const at::Tensor& table_VR, const at::Tensor& ids_N,
                       math::TouchedRows* touched = nullptr);

}  // namespace mapl::codec
