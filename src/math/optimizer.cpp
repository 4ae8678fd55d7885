#include "math/optimizer.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace mapl::math {
namespace {

// In float64, in an order that depends on the size alone. Lanes, because a single running sum must
// be added in sequence and does not vectorise.
double squared_norm(const float* values, int64_t size) {
  constexpr int64_t kLanes = 16;
  std::array<double, kLanes> lanes = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  double sum = 0.0;
  for (; i < size; ++i) sum += static_cast<double>(values[i]) * values[i];
  for (const double lane : lanes) sum += lane;
  return sum;
}

double squared_norm(const at::Tensor& tensor, const TouchedRows& touched) {
  std::vector<int64_t> rows = touched.rows();
  std::sort(rows.begin(), rows.end());  // the order of the micro-batches may differ, the sum not
  if (!tensor.is_cpu()) {
    const at::Tensor index = torch::tensor(rows).to(tensor.device());
    return tensor.index_select(0, index).to(at::kDouble).square_().sum().item<double>();
  }
  double sum = 0.0;
  for (const int64_t row : rows) {
    sum += squared_norm(tensor.data_ptr<float>() + row * tensor.size(1), tensor.size(1));
  }
  return sum;
}

double squared_norm(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) return tensor.to(at::kDouble).square_().sum().item<double>();
  const auto dense = tensor.contiguous();
  return squared_norm(dense.data_ptr<float>(), dense.numel());
}

using States = std::variant<Muon::State, AdamW::State, Spel::State>;

States fresh_state(const Parameter& parameter) {
  const auto zeros = [&] { return at::zeros_like(parameter.value, at::MemoryFormat::Contiguous); };
  switch (parameter.rule) {
    case Rule::kMuon:
    case Rule::kFreeBasis:
      return Muon::State{zeros()};
    case Rule::kSpel:
      return Spel::State{zeros()};
    case Rule::kAdamW:
    case Rule::kSparseAdamW:
      break;
  }
  return AdamW::State{zeros(), zeros(), 0};
}

void list_state(const std::string& name, const AdamW::State& state, NamedTensors& out) {
  out.emplace_back(name + ".exp_avg", state.exp_avg);
  out.emplace_back(name + ".exp_avg_sq", state.exp_avg_sq);
  out.emplace_back(name + ".step", at::scalar_tensor(state.step, at::kLong));
}

template <typename MomentumState>
void list_state(const std::string& name, const MomentumState& state, NamedTensors& out) {
  out.emplace_back(name + ".momentum", state.momentum);
}

std::string describe(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()),
                     fmt::join(tensor.sizes().begin(), tensor.sizes().end(), ", "));
}

}  // namespace

double clip_scale(double squared_norm, double max_norm) {
  if (max_norm == 0.0) return 1.0;
  if (!std::isfinite(squared_norm)) return std::nan("");
  const double norm = std::sqrt(squared_norm);
  return norm > max_norm ? max_norm / norm : 1.0;
}

Optimizer::Optimizer(std::vector<Parameter> parameters, const Options& options)
    : muon_(options.muon),
      adamw_(options.adamw),
      spel_(options.spel),
      free_basis_(options.free_basis),
      parameters_(std::move(parameters)) {
  at::NoGradGuard no_grad;
  for (const auto& parameter : parameters_) {
    MAPL_CHECK(parameter.value.is_leaf() && parameter.value.scalar_type() == at::kFloat,
               "{} is not a float32 leaf", parameter.name);
    MAPL_CHECK(parameter.rule == Rule::kAdamW || parameter.value.dim() == 2,
               "{} is not a matrix, its rule moves matrices", parameter.name);
    MAPL_CHECK((parameter.rule == Rule::kSparseAdamW) == (parameter.touched != nullptr),
               "{}: rows are counted for sparse updates, and only for those", parameter.name);
    states_.push_back(fresh_state(parameter));
  }
}

double Optimizer::add_squared_norm(double running) const {
  for (auto it = parameters_.rbegin(); it != parameters_.rend(); ++it) {
    const auto& gradient = it->value.grad();
    const bool is_basis = it->rule == Rule::kSpel || it->rule == Rule::kFreeBasis;
    if (is_basis || !gradient.defined()) continue;
    running += it->touched ? squared_norm(gradient, *it->touched) : squared_norm(gradient);
  }
  return running;
}

void Optimizer::step(double lr_factor, double gradient_scale) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    auto& value = parameters_[i].value;
    const auto& gradient = value.grad();
    if (!gradient.defined()) continue;
    if (auto* muon = std::get_if<Muon::State>(&states_[i])) {
      const Muon& rule = parameters_[i].rule == Rule::kMuon ? muon_ : free_basis_;
      rule.update(gradient, lr_factor, gradient_scale, *muon, value);
    } else if (auto* adamw = std::get_if<AdamW::State>(&states_[i])) {
      if (const auto& touched = parameters_[i].touched) {
        adamw_.update_rows(touched->rows(), gradient, lr_factor, gradient_scale, *adamw, value);
      } else {
        adamw_.update(gradient, lr_factor, gradient_scale, *adamw, value);
      }
    } else {
      spel_.update(gradient, lr_factor, std::get<Spel::State>(states_[i]), value);
    }
  }
}

int64_t Optimizer::num_parameters() const {
  int64_t count = 0;
  for (const Parameter& parameter : parameters_) count += parameter.value.numel();
  return count;
}

void Optimizer::zero_grad() {
  at::NoGradGuard no_grad;
  for (auto& parameter : parameters_) {
    at::Tensor& gradient = parameter.value.mutable_grad();
    if (!parameter.touched) {
      gradient = at::Tensor();
      continue;
    }
    // WHY kept: to make it anew costs what the table costs.
    const std::vector<int64_t>& rows = parameter.touched->rows();
    if (gradient.defined() && gradient.is_cpu()) {
      const int64_t width = gradient.size(1);
      auto* values = gradient.data_ptr<float>();
      for (const int64_t row : rows) std::fill_n(values + row * width, width, 0.0F);
    } else if (!rows.empty()) {
      gradient.index_fill_(0, torch::tensor(rows).to(gradient.device()), 0);
    }
    parameter.touched->clear();
  }
}

NamedTensors Optimizer::state() const {
  NamedTensors out;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    std::visit([&](const auto& state) { list_state(parameters_[i].name, state, out); }, states_[i]);
  }
  return out;
}

std::vector<std::string> Optimizer::load_state(const NamedTensors& state) {
  at::NoGradGuard no_grad;
  const std::unordered_map<std::string, at::Tensor> given(state.begin(), state.end());
  const auto own = this->state();
  std::vector<std::string> missing;
  for (const auto& [name, tensor] : own) {
    const auto it = given.find(name);
    if (it == given.end()) {
      missing.push_back(name);
    } else if (it->second.sizes() != tensor.sizes() ||
               it->second.scalar_type() != tensor.scalar_type()) {
      throw UserError(
          fmt::format("{} in the checkpoint is {}, the recipe's is {}; check the recipe", name,
                      describe(it->second), describe(tensor)));
    }
  }
  for (const auto& [name, tensor] : own) {
    const auto it = given.find(name);
    if (it == given.end()) {
      tensor.zero_();
    } else {
      tensor.copy_(it->second);
    }
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    auto* adamw = std::get_if<AdamW::State>(&states_[i]);
    if (adamw == nullptr) continue;
    const auto it = given.find(parameters_[i].name + ".step");
    adamw->step = it == given.end() ? 0 : it->second.item<int64_t>();
  }
  return missing;
}

}  // namespace mapl::math
