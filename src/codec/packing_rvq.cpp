// rvq: each row as codes of codebooks that both ends hold (math/rvq.h). MAPL+VQ, arXiv 2606.05484.
//
// The packing end encodes with the very codebook that the unpacking end decodes with, so that what
// arrives is what was meant, to the bit. A fresh codebook follows the data at the packing end, and
// streams over: each message carries an entry of every round and group, which both ends put in
// place when the step is committed. The entries that have moved most since they were sent go first.
//
// WHY rows are normalised: the gradient passes the quantiser straight through and so does not see
// that what lies outside of the codebook is cut off; nothing then keeps z from growing away from
// it.
//
// It begins as bf16. In step `rvq_warmup_steps` - 1 the packing end fits codebooks to what it
// packed and announces them whole.
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "base/check.h"
#include "base/rng.h"
#include "codec/codes.h"
#include "codec/log_sizes.h"
#include "codec/packing_values.h"
#include "math/rvq.h"

namespace mapl::codec {
namespace {

constexpr int kFitIterations = 15;
constexpr int64_t kFitRowsPerEntry = 32;

// `count` of the rows, or all, picked by the seed.
at::Tensor pick_rows(const at::Tensor& x_NR, int64_t count, uint64_t seed) {
  const auto num_rows = static_cast<uint64_t>(x_NR.size(0));
  if (x_NR.size(0) <= count) return x_NR.clone();
  std::vector<int64_t> picked;
  for (int64_t i = 0; i < count; ++i) {
    picked.push_back(static_cast<int64_t>(permute(static_cast<uint64_t>(i), num_rows, seed)));
  }
  return x_NR.index_select(0, torch::tensor(picked));
}

class PackingRvq final : public Packing {
 public:
  explicit PackingRvq(const PackingOptions& options)
      : options_(options),
        plain_(make_packing_bf16(options)),
        groups_(options.columns / options.rvq_group_size),
        fitted_(torch::zeros({1}, torch::kLong)),
        codebook_QSCd_(torch::zeros(
            {options.rvq_rounds, groups_, options.rvq_entries, options.rvq_group_size})),
        average_(fresh_average()) {}

  PackingId id() const override { return is_fitted() ? PackingId::kRvq : PackingId::kBf16; }

  int64_t packed_bytes(int64_t rows, int64_t columns) const override {
    return is_fitted() ? fitted_bytes(rows) : plain_->packed_bytes(rows, columns);
  }
  int64_t most_packed_bytes(int64_t rows, int64_t columns) const override {
    return std::max(fitted_bytes(rows), plain_->packed_bytes(rows, columns));
  }

  Bytes pack(const at::Tensor& x_NR, const MessageKey& key) override {
    const at::Tensor x = host_rows(x_NR);
    if (max_magnitude(x.data_ptr<float>(), x.numel()) >= kInfinity) {
      refuse_values(key, "a value to be sent is not finite");
    }
    step_seed_ = derive_seed(options_.seed, fmt::format("rvq.{}", key.step));
    if (!is_fitted()) {
      if (fits_in(key.step)) {
        const at::Tensor rows = pick_rows(x, fit_rows(), step_seed_);
        seen_.push_back(options_.rvq_normalise ? normalised(rows, true_sizes(rows)) : rows);
      }
      return plain_->pack(x, key);
    }
    Bytes bytes;
    at::Tensor rows = x;
    if (options_.rvq_normalise) {
      const at::Tensor size_N = true_sizes(x);
      if (!size_N.isfinite().all().item<bool>()) {
        refuse_values(key, "a row to be sent is too large to take its size");
      }
      bytes = pack_log_sizes(size_N);
      rows = normalised(x, unpack_log_sizes(bytes, x.size(0)).value());
    }
    const bool is_first = !statistics_.count_QSC.defined();
    if (is_first) begin_step(rows);
    num_rows_ += rows.size(0);
    const at::Tensor codes = math::rvq_encode(rows, codebook_QSCd_, &statistics_);
    if (is_first) error_ = share_lost(rows, math::rvq_decode(codes, codebook_QSCd_));
    append_all(bytes, pack_codes(codes.to(torch::kLong), options_.rvq_entries));
    append_all(bytes, pack_slice(key));
    return bytes;
  }

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns,
                            const MessageKey& key) override {
    if (!is_fitted()) return plain_->unpack(bytes, rows, columns, key);
    if (Status status = check_length(bytes, fitted_bytes(rows)); !status.is_ok()) return status;
    const auto take = [&](int64_t count) {
      const ByteSpan part = bytes.first(static_cast<size_t>(count));
      bytes = bytes.subspan(static_cast<size_t>(count));
      return part;
    };
    const auto size_N = unpack_log_sizes(take(size_bytes(rows)), options_.rvq_normalise ? rows : 0);
    if (!size_N.is_ok()) return size_N.status();
    const int64_t num_codes = rows * groups_ * options_.rvq_rounds;
    const auto codes = unpack_codes(take(code_bytes(num_codes, options_.rvq_entries)), num_codes,
                                    options_.rvq_entries, "codebook entry");
    if (!codes.is_ok()) return codes.status();
    if (Status status = read_slice(bytes, key); !status.is_ok()) return status;
    const at::Tensor code_NSQ =
        codes.value().to(torch::kInt).view({rows, groups_, options_.rvq_rounds});
    at::Tensor x = math::rvq_decode(code_NSQ, codebook_QSCd_);
    if (options_.rvq_normalise) x.mul_(size_N.value().unsqueeze(1));
    if (max_magnitude(x.data_ptr<float>(), x.numel()) >= kInfinity) {
      return Status(Code::kCorrupt, "a decoded value is not finite");
    }
    return x;
  }

  int64_t announced_bytes(uint64_t step) const override {
    return !is_fitted() && fits_in(step) ? most_announced_bytes() : 0;
  }
  int64_t most_announced_bytes() const override {
    return plain_->packed_bytes(1, codebook_QSCd_.numel());
  }
  Bytes announce(uint64_t step) override {
    if (announced_bytes(step) == 0) return {};
    const at::Tensor seen = pick_rows(torch::cat(seen_), fit_rows(), step_seed_);
    const at::Tensor fitted = math::rvq_fit(
        seen, {.rounds = options_.rvq_rounds, .groups = groups_, .entries = options_.rvq_entries},
        options_.seed, kFitIterations);
    Bytes bytes = plain_->pack(fitted.view({1, -1}), {.step = step});
    (void)read_announced(bytes, step);  // as the other end reads it
    return bytes;
  }
  Status read_announced(ByteSpan bytes, uint64_t step) override {
    Status status = check_length(bytes, announced_bytes(step));
    if (!status.is_ok() || bytes.empty()) return status;
    const auto codebook = plain_->unpack(bytes, 1, codebook_QSCd_.numel(), {.step = step});
    if (codebook.is_ok()) announced_QSCd_ = codebook.value().view_as(codebook_QSCd_);
    return codebook.status();
  }

  void commit() override {
    if (announced_QSCd_.defined()) {
      codebook_QSCd_.copy_(announced_QSCd_);
      fitted_.fill_(1);
      average_ = fresh_average();
    }
    if (statistics_.count_QSC.defined()) {
      average_.update(statistics_, num_rows_, math::rvq_residuals(candidates_KR_, codebook_QSCd_),
                      step_seed_);
    }
    for (const auto& [micro_batch, slice] : slices_) {
      for (const Fresh& fresh : slice) {
        at::Tensor entry = codebook_QSCd_.select(2, fresh.entry);
        entry.copy_(fresh.values.view_as(entry));
      }
    }
    abort();
  }
  void abort() override {
    announced_QSCd_.reset();
    statistics_ = {};
    candidates_KR_.reset();
    num_rows_ = 0;
    seen_.clear();
    slices_.clear();
  }

  math::NamedTensors state() override {
    math::NamedTensors all = {{"fitted", fitted_}, {"codebook", codebook_QSCd_}};
    if (options_.packs) {
      all.emplace_back("average_count", average_.averages().count_QSC);
      all.emplace_back("average_sum", average_.averages().sum_QSCd);
    }
    return all;
  }
  double codebook_usage() const override {
    if (!options_.packs || !is_fitted()) return Packing::codebook_usage();
    const at::Tensor count_QSC = average_.averages().count_QSC.to(at::kDouble);
    const at::Tensor share_QSC = count_QSC / count_QSC.sum(-1, /*keepdim=*/true);
    const at::Tensor entropy_QS = -torch::special::xlogy(share_QSC, share_QSC).sum(-1);
    return entropy_QS.exp().mean().item<double>() / static_cast<double>(options_.rvq_entries);
  }
  double codebook_error() const override { return error_; }
  std::vector<at::Tensor> shared() const override { return {fitted_, codebook_QSCd_}; }

 private:
  // An entry brought up to date.
  struct Fresh {
    int64_t entry = 0;
    at::Tensor values;  // [1, Q * S * d]
  };

  // The root mean square of each row. [N]
  static at::Tensor true_sizes(const at::Tensor& x_NR) { return x_NR.square().mean(1).sqrt_(); }
  // Rows of size 1; a row whose size is sent as 0 becomes one of zeros.
  static at::Tensor normalised(const at::Tensor& x_NR, const at::Tensor& size_N) {
    const at::Tensor scale_N = size_N.reciprocal().masked_fill_(size_N == 0, 0.0);
    return x_NR * scale_N.unsqueeze(1);
  }
  static double share_lost(const at::Tensor& x_NR, const at::Tensor& decoded_NR) {
    return ((x_NR - decoded_NR).square().sum() / x_NR.square().sum()).item<double>();
  }
  static void append_all(Bytes& bytes, const Bytes& more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
  }

  // Packs the slice of a message, and keeps it as the other end reads it.
  Bytes pack_slice(const MessageKey& key) {
    Bytes bytes;
    const int64_t first = key.micro_batch * options_.rvq_slice_entries;
    for (int64_t i = 0; i < options_.rvq_slice_entries; ++i) {
      const int64_t entry = by_drift_[static_cast<size_t>(first + i) % by_drift_.size()];
      append(bytes, static_cast<uint16_t>(entry));
      append_all(bytes, plain_->pack(fresh_QSCd_.select(2, entry).reshape({1, -1}), key));
    }
    MAPL_CHECK(read_slice(bytes, key).is_ok(), "a slice that this end wrote");
    return bytes;
  }
  Status read_slice(ByteSpan bytes, const MessageKey& key) {
    std::vector<Fresh> slice;
    const auto entry_bytes = static_cast<size_t>(slice_bytes() / options_.rvq_slice_entries);
    for (; !bytes.empty(); bytes = bytes.subspan(entry_bytes)) {
      const auto entry = read_at<uint16_t>(bytes, 0);
      if (entry >= options_.rvq_entries) {
        return Status(Code::kCorrupt, fmt::format("a slice of codebook entry {}, and there are {}",
                                                  entry, options_.rvq_entries));
      }
      auto values = plain_->unpack(bytes.subspan(2, entry_bytes - 2), 1, slice_values(), key);
      if (!values.is_ok()) return values.status();
      slice.push_back({entry, values.value()});
    }
    slices_[key.micro_batch] = std::move(slice);
    return Status::ok();
  }

  bool is_fitted() const { return *fitted_.data_ptr<int64_t>() != 0; }
  bool fits_in(uint64_t step) const {
    return static_cast<int64_t>(step) + 1 >= options_.rvq_warmup_steps;
  }
  int64_t fit_rows() const { return kFitRowsPerEntry * options_.rvq_entries; }
  int64_t slice_values() const { return options_.rvq_rounds * options_.columns; }
  int64_t slice_bytes() const {
    return options_.rvq_slice_entries * (2 + plain_->packed_bytes(1, slice_values()));
  }
  int64_t size_bytes(int64_t rows) const {
    return options_.rvq_normalise ? log_size_bytes(rows) : 0;
  }
  int64_t fitted_bytes(int64_t rows) const {
    return size_bytes(rows) +
           code_bytes(rows * groups_ * options_.rvq_rounds, options_.rvq_entries) + slice_bytes();
  }
  math::RvqAverage fresh_average() const {
    return math::RvqAverage(codebook_QSCd_, {.decay = options_.rvq_decay});
  }

  // What a step needs of the averages; x is its first micro-batch.
  void begin_step(const at::Tensor& x) {
    statistics_ = math::RvqStatistics::zeros_like(codebook_QSCd_);
    candidates_KR_ = pick_rows(x, options_.rvq_entries, step_seed_);
    fresh_QSCd_ = average_.codebook();
    const at::Tensor moved_QSC = (fresh_QSCd_ - codebook_QSCd_).square().sum(-1);
    const at::Tensor weighted_QSC = moved_QSC * average_.averages().count_QSC;
    const at::Tensor drift_C = weighted_QSC.sum(at::IntArrayRef({0, 1}));
    const auto* drift = drift_C.data_ptr<float>();
    by_drift_.resize(static_cast<size_t>(options_.rvq_entries));
    std::iota(by_drift_.begin(), by_drift_.end(), int64_t{0});
    std::stable_sort(by_drift_.begin(), by_drift_.end(),
                     [drift](int64_t a, int64_t b) { return drift[a] > drift[b]; });
  }

  PackingOptions options_;
  std::unique_ptr<Packing> plain_;
  int64_t groups_;
  at::Tensor fitted_;         // int64, 1 when there are codebooks
  at::Tensor codebook_QSCd_;  // at both ends
  math::RvqAverage average_;  // at the packing end
  double error_ = std::numeric_limits<double>::quiet_NaN();

  // Of the step under way.
  uint64_t step_seed_ = 0;
  at::Tensor announced_QSCd_;
  math::RvqStatistics statistics_;
  at::Tensor candidates_KR_;
  int64_t num_rows_ = 0;
  std::vector<at::Tensor> seen_;
  std::map<uint32_t, std::vector<Fresh>> slices_;  // by micro-batch: put in place in that order
  at::Tensor fresh_QSCd_;
  std::vector<int64_t> by_drift_;
};

}  // namespace

std::unique_ptr<Packing> make_packing_rvq(const PackingOptions& options) {
  const auto require = [](bool good, const std::string& what) {
    if (!good) throw UserError(what);
  };
  const int64_t width = options.rvq_group_size;
  require(width >= 1 && options.columns % width == 0,
          fmt::format("boundary.rvq_group_size is {}; it must divide the {} columns that cross",
                      width, options.columns));
  require(options.rvq_rounds >= 1,
          fmt::format("boundary.rvq_rounds is {}; it must be at least 1", options.rvq_rounds));
  require(options.rvq_entries >= 2 && options.rvq_entries <= 65536,
          fmt::format("boundary.rvq_entries is {}; it must be in 2..65536", options.rvq_entries));
  require(options.rvq_slice_entries >= 1 && options.rvq_slice_entries <= options.rvq_entries,
          fmt::format("boundary.rvq_slice_entries is {}; it must be in 1..{} (rvq_entries)",
                      options.rvq_slice_entries, options.rvq_entries));
  require(options.rvq_warmup_steps >= 1,
          fmt::format("boundary.rvq_warmup_steps is {}; codebooks are fitted to at least 1 step",
                      options.rvq_warmup_steps));
  require(options.rvq_decay >= 0 && options.rvq_decay < 1,
          fmt::format("boundary.rvq_decay is {}; it must be in 0..1, below 1", options.rvq_decay));
  return std::make_unique<PackingRvq>(options);
}

}  // namespace mapl::codec
