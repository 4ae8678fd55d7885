// All trainable tensors of a stage, moved by one loop: each by the rule that its Parameter names.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "math/adamw.h"
#include "math/muon.h"
#include "math/parameter.h"
#include "math/spel.h"

namespace mapl::math {

// What gradients are multiplied by so that their norm is at most max_norm; 1 if it is, or if
// max_norm is 0 (no clipping). NaN if the norm is not finite and clipping is on.
double clip_scale(double squared_norm, double max_norm);

class Optimizer {
 public:
  struct Options {
    Muon::Options muon;
    AdamW::Options adamw;
    Spel::Options spel;
    Muon::Options free_basis;
  };

  // REQUIRES: float32 leaves, names that differ; two dimensions for all but AdamW.
  Optimizer(std::vector<Parameter> parameters, const Options& options);

  // `running` plus the squared gradient norm of each Muon and AdamW parameter, added one after the
  // other from the last of the list to the first. A chain of such calls from the last pipeline
  // stage to the first makes the same additions, and so the same bits, at any number of stages.
  //
  // Bases are left out: their step does not depend on the gradient's size.
  double add_squared_norm(double running) const;

  // One step of every parameter that has a gradient; the others stay as they are, state included.
  //   lr_factor       on every learning rate: LrSchedule::factor()
  //   gradient_scale  on the gradients of Muon and AdamW parameters: clip_scale()
  void step(double lr_factor, double gradient_scale);

  // Drops the gradients: the next backward pass stores instead of adding.
  int64_t num_parameters() const;  // single numbers
  void zero_grad();

  const std::vector<Parameter>& parameters() const { return parameters_; }

  // What must be kept to go on as if never stopped: "<name>.momentum" (all but AdamW);
  // "<name>.exp_avg",
  // "<name>.exp_avg_sq" and "<name>.step" (AdamW; int64, no dimension). In the order of the
  // parameters. The tensors are the live ones, except step: clone what must outlast the next
  // step().
  NamedTensors state() const;

  // The opposite; takes copies, ignores names that are not its own (other stages').
  //   returns  the names that are missing; these start afresh
  //   ERRORS   UserError when a tensor has another shape or dtype; then nothing is loaded.
  std::vector<std::string> load_state(const NamedTensors& state);

 private:
  using State = std::variant<Muon::State, AdamW::State, Spel::State>;

  Muon muon_;
  AdamW adamw_;
  Spel spel_;
  Muon free_basis_;
  std::vector<Parameter> parameters_;
  std::vector<State> states_;  // one for each of parameters_
};

}  // namespace mapl::math
