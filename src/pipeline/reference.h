// The judge: the whole model in one autograd graph on one thread, with encode and decode applied in
// place at the boundaries. No schedule, worker, link or vote; a pipeline must equal it to the last
// bit (mapl verify). Also what evaluates a run on one machine.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "codec/codec.h"
#include "math/optimizer.h"
#include "math/subspace.h"
#include "model/stage.h"
#include "pipeline/boundary.h"
#include "pipeline/worker.h"

namespace mapl::pipeline {

class Reference {
 public:
  // In the model's order; one piece without ends is the unsplit model.
  struct Piece {
    model::Stage* stage = nullptr;
    codec::ReceiverEnd* prev = nullptr;
    codec::SenderEnd* next = nullptr;
    std::vector<math::HeldWeight>* held = nullptr;
  };
  struct Options {
    MicroBatchShape shape;
    uint64_t seed = 0;
    double max_norm = 0;
    bool tied_head = false;
    std::string device = "cpu";
  };
  Reference(std::vector<Piece> pieces, const Options& options);

  struct Outcome {
    double loss = 0;
    double squared_norm = 0;
  };
  // One training step. kCorrupt when a value cannot be packed.
  Result<Outcome> train(math::Optimizer& optimizer, int num_micro_batches, uint64_t step,
                        double divisor, double lr_factor, const BatchSource& batches);
  // Sum of the losses of the micro-batches.
  Result<double> validate(int num_micro_batches, uint64_t step, double divisor,
                          const BatchSource& batches);

  // What a boundary does to one message in each direction.
  struct Wire {
    codec::SenderEnd& from;
    codec::ReceiverEnd& to;
    codec::MessageKey key;
  };

 private:
  // The loss of one micro-batch; `wires` must live as long as its graph.
  at::Tensor forward(const at::Tensor& ids, uint64_t step, uint32_t micro_batch, double divisor,
                     std::vector<Wire>& wires);

  void for_each_held(void (math::HeldWeight::*change)());

  std::vector<Piece> pieces_;
  Options options_;
};

}  // namespace mapl::pipeline
