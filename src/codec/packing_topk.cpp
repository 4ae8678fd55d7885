// topk: the k entries of largest magnitude of each row, as bf16, and where they stand. All values
// come first, row by row in the order of the columns; then all columns, in as few bits as they
// take.
//
// The gradient leg uses the mask of the forward again when that leg is topk too: no columns are
// sent back (Rudakov et al., arXiv 2401.07788: independent masks diverge).
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "codec/codes.h"
#include "codec/packing_values.h"

namespace mapl::codec {
namespace {

// For each row the columns of the k largest magnitudes, ascending; of equal ones the first.
at::Tensor largest_columns(const at::Tensor& x_NR, int64_t k) {
  const int64_t columns = x_NR.size(1);
  at::Tensor mask_NK = torch::empty({x_NR.size(0), k}, torch::kLong);
  auto* out = mask_NK.data_ptr<int64_t>();
  const auto* row = x_NR.data_ptr<float>();
  std::vector<int64_t> order(static_cast<size_t>(columns));
  for (int64_t n = 0; n < x_NR.size(0); ++n, row += columns, out += k) {
    std::iota(order.begin(), order.end(), int64_t{0});
    std::nth_element(order.begin(), order.begin() + k - 1, order.end(),
                     [row](int64_t a, int64_t b) {
                       const float x = std::abs(row[a]);
                       const float y = std::abs(row[b]);
                       return x > y || (x == y && a < b);
                     });
    std::copy_n(order.begin(), k, out);
    std::sort(out, out + k);
  }
  return mask_NK;
}

class PackingTopk final : public Packing {
 public:
  explicit PackingTopk(const PackingOptions& options)
      : options_(options),
        values_(make_packing_bf16(options)),
        forward_(dynamic_cast<PackingTopk*>(options.forward)) {
    if (options.packs && options.topk_feedback) {
      error_NR_ = torch::zeros({options.rows, options.columns});
    }
  }

  PackingId id() const override { return PackingId::kTopk; }

  int64_t packed_bytes(int64_t rows, int64_t columns) const override {
    return value_bytes(rows) + column_bytes(rows, columns);
  }

  Bytes pack(const at::Tensor& x_NR, const MessageKey& key) override {
    at::Tensor x = host_rows(x_NR);
    // Before the choice: not a number has no place in an order.
    if (max_magnitude(x.data_ptr<float>(), x.numel()) >= kInfinity) {
      refuse_values(key, "a value to be sent is not finite");
    }
    const bool has_feedback = error_NR_.defined() && key.trains;
    if (has_feedback) {
      MAPL_CHECK(error_NR_.sizes() == x.sizes(), "micro-batches of {} rows", error_NR_.size(0));
      if (!next_error_NR_.defined()) next_error_NR_ = error_NR_;
      x = x + next_error_NR_;
    }
    const at::Tensor mask_NK = forward_ ? forward_->take(key) : largest_columns(x, options_.topk);
    const at::Tensor chosen_NK = x.gather(1, mask_NK);
    Bytes bytes = values_->pack(chosen_NK, key);
    if (has_feedback) {
      const at::Tensor sent_NK = values_->unpack(bytes, x.size(0), options_.topk, key).value();
      next_error_NR_ = x.scatter(1, mask_NK, chosen_NK - sent_NK);
    }
    if (!forward_) {
      const Bytes columns = pack_codes(mask_NK, x.size(1));
      bytes.insert(bytes.end(), columns.begin(), columns.end());
      keep(mask_NK, key);
    }
    return bytes;
  }

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns,
                            const MessageKey& key) override {
    if (Status status = check_length(bytes, packed_bytes(rows, columns)); !status.is_ok())
      return status;
    const auto first = static_cast<size_t>(value_bytes(rows));
    auto chosen_NK = values_->unpack(bytes.first(first), rows, options_.topk, key);
    if (!chosen_NK.is_ok()) return chosen_NK;
    at::Tensor mask_NK;
    if (forward_) {
      mask_NK = forward_->take(key);
    } else {
      auto codes = unpack_codes(bytes.subspan(first), rows * options_.topk, columns, "column");
      if (!codes.is_ok()) return codes;
      mask_NK = codes.value().view({rows, options_.topk});
      const at::Tensor steps = mask_NK.diff(1, 1);
      if (steps.numel() > 0 && steps.min().item<int64_t>() < 1) {
        return Status(Code::kCorrupt, "the columns of a topk row do not ascend");
      }
      keep(mask_NK, key);
    }
    return new_rows(rows, columns).zero_().scatter_(1, mask_NK, chosen_NK.value());
  }

  void commit() override {
    if (next_error_NR_.defined()) error_NR_.copy_(next_error_NR_);
    abort();
  }
  void abort() override {
    next_error_NR_.reset();
    masks_.clear();
  }

  math::NamedTensors state() override {
    if (!error_NR_.defined()) return {};
    return {{"error", error_NR_}};
  }

 private:
  int64_t value_bytes(int64_t rows) const { return values_->packed_bytes(rows, options_.topk); }
  int64_t column_bytes(int64_t rows, int64_t columns) const {
    return forward_ ? 0 : code_bytes(rows * options_.topk, columns);
  }

  void keep(const at::Tensor& mask_NK, const MessageKey& key) {
    if (options_.leg == Leg::kActivation) masks_[key.micro_batch] = mask_NK;
  }
  at::Tensor take(const MessageKey& key) {
    const auto found = masks_.extract(key.micro_batch);
    MAPL_CHECK(!found.empty(), "a gradient of micro-batch {}, which went forward", key.micro_batch);
    return found.mapped();
  }

  PackingOptions options_;
  std::unique_ptr<Packing> values_;
  PackingTopk* forward_;                  // whose masks are used; null: this leg has its own
  std::map<uint32_t, at::Tensor> masks_;  // of micro-batches on their way
  at::Tensor error_NR_, next_error_NR_;   // what was not sent; undefined without feedback
};

}  // namespace

std::unique_ptr<Packing> make_packing_topk(const PackingOptions& options) {
  if (options.topk < 1 || (options.columns > 0 && options.topk > options.columns)) {
    throw UserError(
        fmt::format("boundary.topk is {}; it must be at least 1 and at most the {} columns that "
                    "cross",
                    options.topk, options.columns));
  }
  return std::make_unique<PackingTopk>(options);
}

}  // namespace mapl::codec
