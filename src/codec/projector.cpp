#include "codec/projector.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>

#include "base/rng.h"
#include "base/status.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

class Identity final : public Projector {
 public:
  explicit Identity(const Options& options) : width_(options.hidden_size) {}

  int64_t width() const override { return width_; }
  at::Tensor project(const at::Tensor& x_ND, const at::Tensor& ids_N,
                     Anchor* anchor) const override {
    return anchor ? x_ND - anchor->lookup(ids_N) : x_ND;
  }
  // In place: the anchor is new memory, and adding to it saves a copy at full width.
  at::Tensor restore(const at::Tensor& z_NR, const at::Tensor& ids_N,
                     Anchor* anchor) const override {
    return anchor ? anchor->lookup(ids_N).add_(z_NR) : z_NR;
  }

 private:
  int64_t width_;
};

class Linear final : public Projector {
 public:
  Linear(at::Tensor basis_DR, const std::string& device, std::optional<math::Rule> rule)
      : rule_(rule),
        basis_DR_(basis_DR.to(at::Device(device)).contiguous().requires_grad_(rule.has_value())) {}

  int64_t width() const override { return basis_DR_.size(1); }
  at::Tensor project(const at::Tensor& x_ND, const at::Tensor& ids_N,
                     Anchor* anchor) const override {
    return anchor ? anchor->project_residual(x_ND, ids_N, basis_DR_) : x_ND.mm(basis_DR_);
  }
  at::Tensor restore(const at::Tensor& z_NR, const at::Tensor& ids_N,
                     Anchor* anchor) const override {
    const at::Tensor back_RD = basis_DR_.t();
    return anchor ? anchor->lookup(ids_N).addmm_(z_NR, back_RD) : z_NR.mm(back_RD);
  }
  at::Tensor basis() const override { return basis_DR_; }
  std::optional<math::Rule> rule() const override { return rule_; }

 private:
  std::optional<math::Rule> rule_;
  at::Tensor basis_DR_;
};

// sender    z  = down(silu(up(r))) + r[0:R],       r = x - a
// receiver  x^ = down(silu(up(z))) + [z, 0] + a
//
// Width and start of the inner layer as an independent port has them; the paper's are not known.
class Bottleneck final : public Projector {
 public:
  explicit Bottleneck(const Options& options)
      : sends_(options.sends), hidden_size_(options.hidden_size), rank_(options.rank) {
    const int64_t inner = std::max<int64_t>(4 * rank_, 64);
    const int64_t in = sends_ ? hidden_size_ : rank_;
    const int64_t out = sends_ ? rank_ : hidden_size_;
    up_ = start(options, "up", inner, in);
    down_ = start(options, "down", out, inner);
  }

  int64_t width() const override { return rank_; }
  at::Tensor project(const at::Tensor& x_ND, const at::Tensor& ids_N,
                     Anchor* anchor) const override {
    const at::Tensor r_ND = anchor ? x_ND - anchor->lookup(ids_N) : x_ND;
    return through(r_ND) + r_ND.narrow(1, 0, rank_);
  }
  at::Tensor restore(const at::Tensor& z_NR, const at::Tensor& ids_N,
                     Anchor* anchor) const override {
    const at::Tensor x_ND = through(z_NR) + torch::constant_pad_nd(z_NR, {0, hidden_size_ - rank_});
    return anchor ? anchor->lookup(ids_N).add_(x_ND) : x_ND;
  }
  std::vector<math::Parameter> own_parameters() const override {
    return {{name("up"), up_, math::Rule::kMuon}, {name("down"), down_, math::Rule::kMuon}};
  }

 private:
  std::string name(const char* layer) const {
    return fmt::format("{}.{}.weight", sends_ ? "encoder" : "decoder", layer);
  }
  at::Tensor start(const Options& options, const char* layer, int64_t out, int64_t in) const {
    const uint64_t seed =
        derive_seed(options.seed, fmt::format("boundary.{}.{}", options.boundary, name(layer)));
    return (0.01 * math::gaussian(out, in, seed))
        .to(at::Device(options.device), at::kFloat)
        .contiguous()
        .requires_grad_();
  }
  at::Tensor through(const at::Tensor& rows) const {
    return torch::silu(rows.mm(up_.t())).mm(down_.t());
  }

  bool sends_;
  int64_t hidden_size_, rank_;
  at::Tensor up_, down_;  // [out, in]
};

at::Tensor boundary_basis(const Projector::Options& options) {
  const uint64_t seed =
      derive_seed(options.seed, fmt::format("boundary.{}.basis", options.boundary));
  return math::random_stiefel(options.hidden_size, options.rank, seed);
}

template <math::Rule kRule>
std::unique_ptr<Projector> make_trained(const Projector::Options& options) {
  return std::make_unique<Linear>(boundary_basis(options), options.device, kRule);
}

struct Kind {
  const char* name;
  std::unique_ptr<Projector> (*make)(const Projector::Options&);
};

// The list: one line for each projector.
constexpr Kind kKinds[] = {
    {"identity",
     [](const Projector::Options& options) -> std::unique_ptr<Projector> {
       return std::make_unique<Identity>(options);
     }},
    {"frozen",
     [](const Projector::Options& options) -> std::unique_ptr<Projector> {
       return std::make_unique<Linear>(boundary_basis(options), options.device, std::nullopt);
     }},
    {"free", make_trained<math::Rule::kFreeBasis>},
    {"stiefel", make_trained<math::Rule::kSpel>},
    {"subspace",
     [](const Projector::Options& options) -> std::unique_ptr<Projector> {
       return std::make_unique<Linear>(
           subspace_basis(options.hidden_size, options.rank, options.seed), options.device,
           std::nullopt);
     }},
    {"bottleneck",
     [](const Projector::Options& options) -> std::unique_ptr<Projector> {
       return std::make_unique<Bottleneck>(options);
     }},
};

}  // namespace

std::unique_ptr<Projector> make_projector(const Projector::Options& options) {
  for (const Kind& kind : kKinds) {
    if (options.kind == kind.name) return kind.make(options);
  }
  throw UserError(fmt::format("unknown boundary.projector \"{}\"; known: {}", options.kind,
                              fmt::join(projector_names(), ", ")));
}

std::vector<std::string> projector_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

at::Tensor subspace_basis(int64_t hidden_size, int64_t rank, uint64_t seed) {
  return math::random_stiefel(hidden_size, rank, derive_seed(seed, "subspace.basis"));
}

}  // namespace mapl::codec
