#include "codec/anchor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "base/rng.h"
#include "base/status.h"
#include "codec/gather.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

constexpr const char* kNone = "none";

class Static final : public Anchor {
 public:
  explicit Static(const AnchorOptions& options) : name_(options.name + ".table") {
    const at::Tensor& embedding = options.embedding_VD;
    const at::Tensor numbers = math::gaussian(embedding.size(0), embedding.size(1),
                                              derive_seed(options.seed, "anchor.static"));
    const double size = embedding.square().mean(at::kDouble).sqrt().item<double>();
    table_VD_ = (numbers * size).to(embedding.options());
  }

  at::Tensor lookup(const at::Tensor& ids_N) override { return table_VD_.index_select(0, ids_N); }
  std::vector<math::Parameter> parameters() override { return {}; }
  math::NamedTensors state() override { return {{name_, table_VD_}}; }

 private:
  std::string name_;
  at::Tensor table_VD_;
};

class Factorized final : public Anchor {
 public:
  explicit Factorized(const AnchorOptions& options) : name_(options.name) {
    const at::Tensor& embedding = options.embedding_VD;
    const uint64_t seed = derive_seed(options.seed, "anchor.projection");
    const at::Tensor p_Dr = math::random_stiefel(embedding.size(1), options.rank, seed);
    projection_rD_ = p_Dr.t().contiguous().to(embedding.device());
    table_Vr_ = embedding.mm(projection_rD_.t()).contiguous().requires_grad_();
  }

  at::Tensor lookup(const at::Tensor& ids_N) override {
    return gather_rows(table_Vr_, ids_N).mm(projection_rD_);
  }

  // x A - E[ids] (P A): the anchor at full width is never made. The small product enters the graph
  // every time, which is how the basis gets this term's gradient.
  at::Tensor project_residual(const at::Tensor& x_ND, const at::Tensor& ids_N,
                              const at::Tensor& basis_DR) override {
    const at::Tensor seen_rR = projection_rD_.mm(basis_DR);
    return x_ND.mm(basis_DR).addmm_(gather_rows(table_Vr_, ids_N), seen_rR, 1, -1);
  }

  std::vector<math::Parameter> parameters() override {
    return {{name_ + ".table", table_Vr_, math::Rule::kAdamW}};
  }
  math::NamedTensors state() override {
    return {{name_ + ".table", table_Vr_}, {name_ + ".projection", projection_rD_}};
  }

 private:
  std::string name_;
  at::Tensor table_Vr_;
  at::Tensor projection_rD_;
};

class Full final : public Anchor {
 public:
  explicit Full(const AnchorOptions& options)
      : name_(options.name + ".table"),
        table_VD_(options.embedding_VD.detach().clone().requires_grad_()) {}

  at::Tensor lookup(const at::Tensor& ids_N) override { return gather_rows(table_VD_, ids_N); }
  std::vector<math::Parameter> parameters() override {
    return {{name_, table_VD_, math::Rule::kAdamW}};
  }
  math::NamedTensors state() override { return {{name_, table_VD_}}; }

 private:
  std::string name_;
  at::Tensor table_VD_;
};

template <typename Kind>
std::shared_ptr<Anchor> make(const AnchorOptions& options) {
  at::NoGradGuard no_grad;
  return std::make_shared<Kind>(options);
}

struct Entry {
  const char* name;
  std::shared_ptr<Anchor> (*make)(const AnchorOptions&);
};

// The list: one line for each anchor.
constexpr Entry kAnchors[] = {
    {"static", make<Static>}, {"factorized", make<Factorized>}, {"full", make<Full>}};

}  // namespace

at::Tensor Anchor::project_residual(const at::Tensor& x_ND, const at::Tensor& ids_N,
                                    const at::Tensor& basis_DR) {
  return (x_ND - lookup(ids_N)).mm(basis_DR);
}

std::shared_ptr<Anchor> make_anchor(const AnchorOptions& options) {
  if (options.kind == kNone) return nullptr;
  for (const Entry& entry : kAnchors) {
    if (options.kind == entry.name) return entry.make(options);
  }
  throw UserError(fmt::format("unknown boundary.anchor \"{}\"; known: {}", options.kind,
                              fmt::join(anchor_names(), ", ")));
}

std::vector<std::string> anchor_names() {
  std::vector<std::string> names = {kNone};
  for (const Entry& entry : kAnchors) names.emplace_back(entry.name);
  return names;
}

}  // namespace mapl::codec
