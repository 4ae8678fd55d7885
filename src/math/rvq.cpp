#include "math/rvq.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "math/rvq_kernels.h"

namespace mapl::math {
namespace {

struct Sizes {
  explicit Sizes(const at::Tensor& codebook_QSCd)
      : rounds(codebook_QSCd.size(0)),
        groups(codebook_QSCd.size(1)),
        entries(codebook_QSCd.size(2)),
        width(codebook_QSCd.size(3)) {}
  int64_t columns() const { return groups * width; }
  int64_t rounds, groups, entries, width;
};

// The rows of one group, kRvqLanes at a time: a lane holds what is left of its row. Lanes beyond
// the last row are zero.
class Block {
 public:
  explicit Block(int64_t width) : width_(width), left_dL_(width * kRvqLanes / kFloats) {}

  void load(const float* x_NR, int64_t stride, int64_t rows) {
    rows_ = rows;
    std::fill_n(lanes(), width_ * kRvqLanes, 0.0F);
    for (int64_t lane = 0; lane < rows; ++lane) {
      for (int64_t i = 0; i < width_; ++i) lanes()[i * kRvqLanes + lane] = x_NR[lane * stride + i];
    }
  }
  void store(float* to_Kd) const {
    for (int64_t lane = 0; lane < rows_; ++lane) {
      for (int64_t i = 0; i < width_; ++i) to_Kd[lane * width_ + i] = lanes()[i * kRvqLanes + lane];
    }
  }
  const int32_t* search(const float* entries_Cd, const float* half_norms_C, int64_t entries) {
    nearest_entries(lanes(), entries_Cd, half_norms_C, entries, width_, codes_);
    return codes_;
  }
  // Counts what chose each entry, in the order of the rows.
  void add_to(float* count_C, float* sum_Cd) const {
    for (int64_t lane = 0; lane < rows_; ++lane) {
      count_C[codes_[lane]] += 1;
      float* sum = sum_Cd + codes_[lane] * width_;
      for (int64_t i = 0; i < width_; ++i) sum[i] += lanes()[i * kRvqLanes + lane];
    }
  }
  void subtract(const float* entries_Cd) {
    for (int64_t lane = 0; lane < rows_; ++lane) {
      const float* entry = entries_Cd + codes_[lane] * width_;
      for (int64_t i = 0; i < width_; ++i) lanes()[i * kRvqLanes + lane] -= entry[i];
    }
  }

 private:
  static constexpr int64_t kFloats = 16;
  struct alignas(64) Line {
    float values[kFloats];
  };
  float* lanes() { return left_dL_.data()->values; }
  const float* lanes() const { return left_dL_.data()->values; }

  int64_t width_;
  int64_t rows_ = 0;
  std::vector<Line> left_dL_;
  int32_t codes_[kRvqLanes] = {};
};

at::Tensor half_norms(const at::Tensor& codebook_QSCd) {
  return codebook_QSCd.square().sum(-1).mul_(0.5).contiguous();
}

void check_rows(const at::Tensor& x_NR, const at::Tensor& codebook_QSCd) {
  MAPL_CHECK(codebook_QSCd.dim() == 4 && codebook_QSCd.is_contiguous(),
             "a codebook is [Q, S, C, d]");
  MAPL_CHECK(x_NR.dim() == 2 && x_NR.size(1) == Sizes(codebook_QSCd).columns() &&
                 x_NR.scalar_type() == at::kFloat && x_NR.is_cpu(),
             "rows of {} columns", Sizes(codebook_QSCd).columns());
}

// Calls visit(group, round, first row, block, codes) for all rows, the block as the round found it:
// groups in parallel, all else in order.
template <typename Visit>
void for_each_block(const at::Tensor& x_NR, const at::Tensor& codebook_QSCd, const Visit& visit) {
  check_rows(x_NR, codebook_QSCd);
  const Sizes sizes(codebook_QSCd);
  const at::Tensor x = x_NR.contiguous();
  const at::Tensor norms_QSC = half_norms(codebook_QSCd);
  const float* values = x.data_ptr<float>();
  const float* entries = codebook_QSCd.data_ptr<float>();
  const float* norms = norms_QSC.data_ptr<float>();
  at::parallel_for(0, sizes.groups, 1, [&](int64_t first_group, int64_t last_group) {
    Block block(sizes.width);
    for (int64_t s = first_group; s < last_group; ++s) {
      for (int64_t first = 0; first < x.size(0); first += kRvqLanes) {
        block.load(values + first * sizes.columns() + s * sizes.width, sizes.columns(),
                   std::min(kRvqLanes, x.size(0) - first));
        for (int64_t q = 0; q < sizes.rounds; ++q) {
          const int64_t book = (q * sizes.groups + s) * sizes.entries;
          const auto* codes =
              block.search(entries + book * sizes.width, norms + book, sizes.entries);
          visit(s, q, first, block, codes);
          block.subtract(entries + book * sizes.width);
        }
      }
    }
  });
}

// k-means of one group in one round: x [N, d] to C entries.
at::Tensor fit_group(const at::Tensor& x_Nd, int64_t entries, uint64_t seed, int iterations) {
  const auto num_rows = static_cast<uint64_t>(x_Nd.size(0));
  std::vector<int64_t> starts;
  for (uint64_t k = 0; k < static_cast<uint64_t>(entries); ++k) {
    starts.push_back(static_cast<int64_t>(permute(k % num_rows, num_rows, seed)));
  }
  at::Tensor codebook =
      x_Nd.index_select(0, torch::tensor(starts)).view({1, 1, entries, x_Nd.size(1)});
  for (int iteration = 0; iteration < iterations; ++iteration) {
    auto batch = RvqStatistics::zeros_like(codebook);
    rvq_encode(x_Nd, codebook, &batch);
    const at::Tensor count = batch.count_QSC.unsqueeze(-1);
    codebook = at::where(count > 0, batch.sum_QSCd / count.clamp_min(1), codebook).contiguous();
  }
  return codebook[0][0];
}

}  // namespace

RvqStatistics RvqStatistics::zeros_like(const at::Tensor& codebook_QSCd) {
  return {torch::zeros(codebook_QSCd.sizes().slice(0, 3)), torch::zeros(codebook_QSCd.sizes())};
}

at::Tensor rvq_encode(const at::Tensor& x_NR, const at::Tensor& codebook_QSCd,
                      RvqStatistics* statistics) {
  const Sizes sizes(codebook_QSCd);
  const int64_t rows = x_NR.size(0);
  at::Tensor code_NSQ = torch::empty({rows, sizes.groups, sizes.rounds}, torch::kInt);
  auto* out = code_NSQ.data_ptr<int32_t>();
  float* count = statistics ? statistics->count_QSC.data_ptr<float>() : nullptr;
  float* sum = statistics ? statistics->sum_QSCd.data_ptr<float>() : nullptr;
  for_each_block(
      x_NR, codebook_QSCd,
      [&](int64_t s, int64_t q, int64_t first, const Block& block, const int32_t* codes) {
        const int64_t last = std::min(first + kRvqLanes, rows);
        for (int64_t n = first; n < last; ++n) {
          out[(n * sizes.groups + s) * sizes.rounds + q] = codes[n - first];
        }
        const int64_t book = (q * sizes.groups + s) * sizes.entries;
        if (statistics) block.add_to(count + book, sum + book * sizes.width);
      });
  return code_NSQ;
}

at::Tensor rvq_residuals(const at::Tensor& x_KR, const at::Tensor& codebook_QSCd) {
  const Sizes sizes(codebook_QSCd);
  const int64_t rows = x_KR.size(0);
  at::Tensor left = torch::empty({sizes.rounds, sizes.groups, rows, sizes.width});
  auto* out = left.data_ptr<float>();
  for_each_block(x_KR, codebook_QSCd,
                 [&](int64_t s, int64_t q, int64_t first, const Block& block, const int32_t*) {
                   block.store(out + ((q * sizes.groups + s) * rows + first) * sizes.width);
                 });
  return left;
}

at::Tensor rvq_decode(const at::Tensor& code_NSQ, const at::Tensor& codebook_QSCd) {
  const Sizes sizes(codebook_QSCd);
  const int64_t rows = code_NSQ.size(0);
  at::Tensor x = torch::zeros({rows, sizes.columns()});
  const auto* codes = code_NSQ.data_ptr<int32_t>();
  const auto* entries = codebook_QSCd.data_ptr<float>();
  auto* out = x.data_ptr<float>();
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t s = 0; s < sizes.groups; ++s, out += sizes.width) {
      for (int64_t q = 0; q < sizes.rounds; ++q) {
        const int64_t book = (q * sizes.groups + s) * sizes.entries;
        const float* entry = entries + (book + *codes++) * sizes.width;
        for (int64_t i = 0; i < sizes.width; ++i) out[i] += entry[i];
      }
    }
  }
  return x;
}

at::Tensor rvq_fit(const at::Tensor& x_NR, const RvqShape& shape, uint64_t seed, int iterations) {
  MAPL_CHECK(x_NR.size(0) > 0 && x_NR.size(1) % shape.groups == 0,
             "{} groups do not divide {} columns", shape.groups, x_NR.size(1));
  const int64_t width = x_NR.size(1) / shape.groups;
  at::Tensor left_NSd = x_NR.contiguous().view({x_NR.size(0), shape.groups, width}).clone();
  at::Tensor codebook = torch::empty({shape.rounds, shape.groups, shape.entries, width});
  for (int64_t q = 0; q < shape.rounds; ++q) {
    for (int64_t s = 0; s < shape.groups; ++s) {
      const auto book = static_cast<uint64_t>(q * shape.groups + s);
      const uint64_t start = uint64_t{philox(seed, book, 0)[0]};
      codebook[q][s].copy_(
          fit_group(left_NSd.select(1, s).contiguous(), shape.entries, start, iterations));
    }
    const at::Tensor round = codebook.narrow(0, q, 1);
    const at::Tensor rows = left_NSd.view({x_NR.size(0), x_NR.size(1)});
    left_NSd -= rvq_decode(rvq_encode(rows, round), round).view_as(left_NSd);
  }
  return codebook;
}

RvqAverage::RvqAverage(const at::Tensor& codebook_QSCd, const Options& options)
    : options_(options),
      averages_{torch::ones(codebook_QSCd.sizes().slice(0, 3)), codebook_QSCd.clone()} {}

void RvqAverage::update(const RvqStatistics& batch, int64_t num_rows, const at::Tensor& left_QSKd,
                        uint64_t seed) {
  // In units of an even count, so that the averages do not depend on the size of batches.
  const double unit = static_cast<double>(batch.count_QSC.size(2)) / static_cast<double>(num_rows);
  averages_.count_QSC.mul_(options_.decay).add_(batch.count_QSC, (1 - options_.decay) * unit);
  averages_.sum_QSCd.mul_(options_.decay).add_(batch.sum_QSCd, (1 - options_.decay) * unit);

  const Sizes sizes(batch.sum_QSCd);
  const auto num_candidates = static_cast<uint64_t>(left_QSKd.size(2));
  auto* count = averages_.count_QSC.data_ptr<float>();
  auto* sum = averages_.sum_QSCd.data_ptr<float>();
  const auto* left = left_QSKd.data_ptr<float>();
  for (int64_t book = 0; book < sizes.rounds * sizes.groups; ++book) {
    uint64_t used = 0;
    for (int64_t k = book * sizes.entries; k < (book + 1) * sizes.entries; ++k) {
      // No row twice: of two equal entries the second would never be chosen.
      if (count[k] >= options_.dead_share || used == num_candidates) continue;
      const uint64_t pick = permute(used++, num_candidates, seed);
      const float* row =
          left + (book * left_QSKd.size(2) + static_cast<int64_t>(pick)) * sizes.width;
      count[k] = 1;
      std::copy_n(row, sizes.width, sum + k * sizes.width);
    }
  }
}

at::Tensor RvqAverage::codebook() const {
  return averages_.sum_QSCd / averages_.count_QSC.unsqueeze(-1);
}

}  // namespace mapl::math
