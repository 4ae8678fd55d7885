#include <fmt/format.h>
#include <torch/torch.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "codec/anchor.h"
#include "codec/gather.h"
#include "math/stiefel.h"

namespace mapl::codec {

at::Tensor ngram_rows(const at::Tensor& ids_N, int n, int64_t sequence_length, int64_t entries) {
  const at::Tensor ids = ids_N.cpu().contiguous();
  at::Tensor rows_N = torch::empty_like(ids);
  const auto* id = ids.data_ptr<int64_t>();
  auto* row = rows_N.data_ptr<int64_t>();
  std::vector<int64_t> gram(static_cast<size_t>(n));
  for (int64_t t = 0; t < ids.numel(); ++t) {
    for (int64_t back = 0; back < n; ++back) {
      gram[static_cast<size_t>(back)] = back <= t % sequence_length ? id[t - back] : -1;
    }
    const ByteSpan bytes = std::as_bytes(std::span(gram));
    row[t] = static_cast<int64_t>(hash_bytes(bytes) % static_cast<uint64_t>(entries));
  }
  return rows_N.to(ids_N.device());
}

namespace {

// A token's anchor and, on top, a hashed table for each length of n-gram that ends at the token.
class WithNgrams final : public Anchor {
 public:
  WithNgrams(std::shared_ptr<Anchor> tokens, const AnchorOptions& options)
      : tokens_(std::move(tokens)), sequence_length_(options.sequence_length) {
    const int64_t columns = options.embedding_VD.size(1);
    const at::Device device = options.embedding_VD.device();
    const int64_t entries = options.ngram_entries;
    for (int n = 2; n <= options.ngram; ++n) {
      const uint64_t seed = derive_seed(options.seed, fmt::format("anchor.ngram_{}.projection", n));
      const at::Tensor p_Dr = math::random_stiefel(columns, options.ngram_rank, seed);
      tables_.push_back(
          {.name = fmt::format("{}.ngram_{}", options.name, n),
           .n = n,
           .table = torch::zeros({entries, options.ngram_rank}, device).requires_grad_(),
           .projection_rD = p_Dr.t().contiguous().to(device),
           .touched = std::make_shared<math::TouchedRows>(entries)});
    }
  }

  at::Tensor lookup(const at::Tensor& ids_N) override {
    at::Tensor sum_ND = tokens_ ? tokens_->lookup(ids_N) : at::Tensor();
    for (const Table& table : tables_) {
      const at::Tensor rows_Nr = gather(table, ids_N);
      sum_ND = sum_ND.defined() ? sum_ND.addmm_(rows_Nr, table.projection_rD)
                                : rows_Nr.mm(table.projection_rD);
    }
    return sum_ND;
  }

  at::Tensor project_residual(const at::Tensor& x_ND, const at::Tensor& ids_N,
                              const at::Tensor& basis_DR) override {
    at::Tensor z_NR =
        tokens_ ? tokens_->project_residual(x_ND, ids_N, basis_DR) : x_ND.mm(basis_DR);
    for (const Table& table : tables_) {
      z_NR.addmm_(gather(table, ids_N), table.projection_rD.mm(basis_DR), 1, -1);
    }
    return z_NR;
  }

  std::vector<math::Parameter> parameters() override {
    auto all = tokens_ ? tokens_->parameters() : std::vector<math::Parameter>();
    for (const Table& table : tables_) {
      all.push_back({table.name + ".table", table.table, math::Rule::kSparseAdamW, table.touched});
    }
    return all;
  }
  math::NamedTensors state() override {
    auto all = tokens_ ? tokens_->state() : math::NamedTensors();
    for (const Table& table : tables_) {
      all.emplace_back(table.name + ".table", table.table);
      all.emplace_back(table.name + ".projection", table.projection_rD);
    }
    return all;
  }

 private:
  struct Table {
    std::string name;
    int n = 2;
    at::Tensor table;  // [entries, r]
    at::Tensor projection_rD;
    std::shared_ptr<math::TouchedRows> touched;
  };

  at::Tensor gather(const Table& table, const at::Tensor& ids_N) const {
    const at::Tensor rows_N = ngram_rows(ids_N, table.n, sequence_length_, table.table.size(0));
    return gather_rows(table.table, rows_N, table.touched.get());
  }

  std::shared_ptr<Anchor> tokens_;  // may be null
  int64_t sequence_length_;
  std::vector<Table> tables_;
};

}  // namespace

std::shared_ptr<Anchor> with_ngrams(std::shared_ptr<Anchor> tokens, const AnchorOptions& options) {
  at::NoGradGuard no_grad;
  return std::make_shared<WithNgrams>(std::move(tokens), options);
}

}  // namespace mapl::codec
