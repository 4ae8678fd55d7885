// A tied matrix kept in two places: the embedding on the first stage, the head on the last. Both
// get the sum of the two gradients, added in one order, so that equal optimisers keep them equal to
// the last bit.
//
// Once per step the head's half travels to stage 0 and the embedding's half to the last stage,
// handed on by the stages between: V x D float32 over every boundary, each way.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/status.h"
#include "math/parameter.h"
#include "pipeline/channel.h"

namespace mapl::pipeline {

class TiedHead {
 public:
  // parameters of this stage; prev and next are null at the ends of the pipeline.
  //   bytes  of the matrix, for the stages that hold neither copy
  TiedHead(const math::NamedTensors& parameters, Channel* prev, Channel* next, int64_t bytes);

  // After the last backward. The sum then stands in the embedding's gradient; the head's is
  // undefined until share(), so that the matrix counts once in the norm.
  //   returns  the sum; undefined on a stage that holds neither copy
  Result<at::Tensor> exchange(uint64_t step);
  // Before the optimiser: the head's gradient is the sum too.
  void share(const at::Tensor& sum);

 private:
  Status hand_on(uint64_t step);

  at::Tensor embedding_;  // undefined where it does not live
  at::Tensor head_;
  Channel* prev_;
  Channel* next_;
  int64_t bytes_;
};

}  // namespace mapl::pipeline
