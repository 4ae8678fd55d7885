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

// A table that is trained: by sparse updates, or all of it at each step.
class TrainedTable {
 public:
  TrainedTable(std::string name, at::Tensor value, bool sparse)
      : name_(std::move(name)), value_(value.contiguous().requires_grad_()) {
    if (sparse) touched_ = std::make_shared<math::TouchedRows>(value_.size(0));
  }
  at::Tensor gather(const at::Tensor& ids_N) const {
    return gather_rows(value_, ids_N, touched_.get());
  }
  math::Parameter parameter() const {
    return {name_, value_, touched_ ? math::Rule::kSparseAdamW : math::Rule::kAdamW, touched_};
  }
  const std::string& name() const { return name_; }
  const at::Tensor& value() const { return value_; }

 private:
  std::string name_;
  at::Tensor value_;
  std::shared_ptr<math::TouchedRows> touched_;  // null: not sparse
};

// A table that nothing trains.
class Frozen final : public Anchor {
 public:
  Frozen(const AnchorOptions& options, at::Tensor table_VD)
      : name_(options.name + ".table"), table_VD_(std::move(table_VD)) {}

  at::Tensor lookup(const at::Tensor& ids_N) override { return table_VD_.index_select(0, ids_N); }
  std::vector<math::Parameter> parameters() override { return {}; }
  math::NamedTensors state() override { return {{name_, table_VD_}}; }

 private:
  std::string name_;
  at::Tensor table_VD_;
};

std::shared_ptr<Anchor> make_static(const AnchorOptions& options) {
  const at::Tensor& embedding = options.embedding_VD;
  const at::Tensor numbers = math::gaussian(embedding.size(0), embedding.size(1),
                                            derive_seed(options.seed, "anchor.static"));
  const double size = embedding.square().mean(at::kDouble).sqrt().item<double>();
  return std::make_shared<Frozen>(options, (numbers * size).to(embedding.options()));
}

std::shared_ptr<Anchor> make_fixed(const AnchorOptions& options) {
  return std::make_shared<Frozen>(options, options.embedding_VD.detach().clone());
}

class Factorized final : public Anchor {
 public:
  explicit Factorized(const AnchorOptions& options)
      : name_(options.name),
        projection_rD_(projection(options)),
        table_(name_ + ".table", options.embedding_VD.mm(projection_rD_.t()), options.sparse) {}

  at::Tensor lookup(const at::Tensor& ids_N) override {
    return table_.gather(ids_N).mm(projection_rD_);
  }

  // x A - E[ids] (P A): the anchor at full width is never made. The small product enters the graph
  // every time, which is how the basis gets this term's gradient.
  at::Tensor project_residual(const at::Tensor& x_ND, const at::Tensor& ids_N,
                              const at::Tensor& basis_DR) override {
    const at::Tensor seen_rR = projection_rD_.mm(basis_DR);
    return x_ND.mm(basis_DR).addmm_(table_.gather(ids_N), seen_rR, 1, -1);
  }

  std::vector<math::Parameter> parameters() override { return {table_.parameter()}; }
  math::NamedTensors state() override {
    return {{table_.name(), table_.value()}, {name_ + ".projection", projection_rD_}};
  }

 private:
  static at::Tensor projection(const AnchorOptions& options) {
    const at::Tensor& embedding = options.embedding_VD;
    const uint64_t seed = derive_seed(options.seed, "anchor.projection");
    const at::Tensor p_Dr = math::random_stiefel(embedding.size(1), options.rank, seed);
    return p_Dr.t().contiguous().to(embedding.device());
  }

  std::string name_;
  at::Tensor projection_rD_;
  TrainedTable table_;
};

class Full final : public Anchor {
 public:
  explicit Full(const AnchorOptions& options)
      : table_(options.name + ".table", options.embedding_VD.detach().clone(), options.sparse) {}

  at::Tensor lookup(const at::Tensor& ids_N) override { return table_.gather(ids_N); }
  std::vector<math::Parameter> parameters() override { return {table_.parameter()}; }
  math::NamedTensors state() override { return {{table_.name(), table_.value()}}; }

 private:
  TrainedTable table_;
};

template <typename Kind>
std::shared_ptr<Anchor> make(const AnchorOptions& options) {
  return std::make_shared<Kind>(options);
}

// A table that belongs to another: the embedding of stage 0.
class Borrowed final : public Anchor {
 public:
  explicit Borrowed(const AnchorOptions& options) : table_VD_(options.table_VD) {}

  at::Tensor lookup(const at::Tensor& ids_N) override {
    return gather_rows(table_VD_, ids_N, nullptr);
  }
  std::vector<math::Parameter> parameters() override { return {}; }
  math::NamedTensors state() override { return {}; }

 private:
  at::Tensor table_VD_;
};

struct Entry {
  const char* name;
  std::shared_ptr<Anchor> (*make)(const AnchorOptions&);
};

// The list: one line for each anchor.
constexpr Entry kAnchors[] = {{"static", make_static},
                              {"fixed", make_fixed},
                              {"factorized", make<Factorized>},
                              {"full", make<Full>}};

}  // namespace

at::Tensor Anchor::project_residual(const at::Tensor& x_ND, const at::Tensor& ids_N,
                                    const at::Tensor& basis_DR) {
  return (x_ND - lookup(ids_N)).mm(basis_DR);
}

std::shared_ptr<Anchor> make_anchor(const AnchorOptions& options) {
  const at::NoGradGuard no_grad;
  const auto with_all = [&](std::shared_ptr<Anchor> tokens) {
    return options.ngram < 2 ? tokens : with_ngrams(std::move(tokens), options);
  };
  if (options.table_VD.defined()) return with_all(make<Borrowed>(options));
  if (options.kind == kNone) return with_all(nullptr);
  for (const Entry& entry : kAnchors) {
    if (options.kind == entry.name) return with_all(entry.make(options));
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
