// Weights held in a subspace: what a layer writes into the residual stream then stays in
// S = span(U), U [D, R] with orthonormal columns, and crosses a boundary of rank R without loss
// (Subspace Networks, arXiv 2506.01260). Two forms:
//
//   projected        the optimiser moves W freely; afterwards W <- U U^T W
//   reparametrised   the optimiser moves the coordinates C = U^T W, with gradient U^T dL/dW;
//                    afterwards W <- U C (ReparamSSN)
#pragma once

#include <ATen/core/Tensor.h>

#include "math/parameter.h"

namespace mapl::math {

class HeldWeight {
 public:
  // Puts the weight into the subspace at once. Basis and `fixed` may be written later by whoever
  // loads: they are not copied.
  struct Options {
    at::Tensor basis_DR;    // U
    bool by_rows = false;   // rows of W are in S, as an embedding's [V, D]; else its columns,
                            // as those of a projection [D, in]
    at::Tensor fixed = {};  // held is W - fixed; undefined: 0
    bool reparametrised = false;
  };
  HeldWeight(const Parameter& weight, const Options& options);

  // What the optimiser is given in place of the weight: the weight itself, or its coordinates, by
  // the weight's name and rule.
  const Parameter& parameter() const { return parameter_; }

  void zero_grad();         // with the optimiser's
  void before_optimizer();  // hands the gradient on; the weight's is then undefined
  void after_optimizer();   // puts the weight back into the subspace

  // Of what is saved beside the weight: "<name>.coordinates", when reparametrised.
  NamedTensors state() const;
  // The weight was written from outside, and state() too or not. A weight that was saved in this
  // subspace stays as it is to the last bit; any other is put into it.
  void after_load(bool coordinates_too);

 private:
  at::Tensor coordinates_of(const at::Tensor& w) const;
  at::Tensor weight_of(const at::Tensor& coordinates) const;

  at::Tensor weight_;
  Options options_;
  Parameter parameter_;
};

}  // namespace mapl::math
