// Whether two Run folders hold the same training: losses and the latest weights, to the last bit.
#pragma once

#include <fmt/format.h>
#include <torch/torch.h>

#include <map>
#include <string>

#include "checkpoint/manifest.h"
#include "train/small_run_for_test.h"

namespace mapl::train {

// Empty when they do; else the first difference. Times, memory and bytes may differ.
inline std::string difference(const std::string& a, const std::string& b) {
  const auto lines_a = json_lines(a + "/metrics.jsonl");
  const auto lines_b = json_lines(b + "/metrics.jsonl");
  if (lines_a.size() != lines_b.size()) {
    return fmt::format("{} steps are logged, and {}", lines_a.size(), lines_b.size());
  }
  for (size_t i = 0; i < lines_a.size(); ++i) {
    for (const char* key : {"step", "loss", "grad_norm", "validation_loss"}) {
      const auto value_a = lines_a[i].value(key, nlohmann::json());
      const auto value_b = lines_b[i].value(key, nlohmann::json());
      if (value_a != value_b) {
        return fmt::format("{} of step {} is {}, and {}", key, i + 1, value_a.dump(),
                           value_b.dump());
      }
    }
  }
  std::map<std::string, at::Tensor> tensors[2];
  const std::string* folders[2] = {&a, &b};
  for (int i = 0; i < 2; ++i) {
    const auto latest = checkpoint::latest_checkpoint(*folders[i] + "/checkpoints");
    if (!latest) return "there is no checkpoint in " + *folders[i];
    for (auto& [name, value] : checkpoint::load_checkpoint(*latest).tensors) {
      if (!name.starts_with("metrics.")) tensors[i].emplace(name, value);
    }
  }
  if (tensors[0].size() != tensors[1].size()) return "the checkpoints hold other tensors";
  for (const auto& [name, value] : tensors[0]) {
    const auto found = tensors[1].find(name);
    if (found == tensors[1].end() || !value.equal(found->second)) return name + " differs";
  }
  return "";
}

}  // namespace mapl::train
