// A run that takes a second: its data, its recipe, its folder; gone with the object.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/shards.h"
#include "train/recipe.h"

namespace mapl::train {

class SmallRun {
 public:
  SmallRun() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mapl-test-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    write_shard("train", 4000);
    write_shard("val", 1000);
  }
  ~SmallRun() { std::filesystem::remove_all(folder_); }
  SmallRun(const SmallRun&) = delete;
  SmallRun& operator=(const SmallRun&) = delete;

  const std::string& folder() const { return folder_; }

  std::string text() const {
    return R"(
      [model]
      hidden_size = 16
      num_hidden_layers = 8
      num_attention_heads = 2
      num_key_value_heads = 2
      intermediate_size = 24
      vocab_size = 97
      [data]
      train = ")" +
           folder_ + R"(/train_*.bin"
      validation = ")" +
           folder_ + R"(/val_*.bin"
      [training]
      steps = 6
      sequence_length = 8
      global_batch_size = 8
      microbatch_size = 2
      warmup_steps = 2
      [pipeline]
      stages = 4
      [boundary]
      method = "mapl"
      rank = 4
      group_size = 4
      [link]
      kind = "inproc"
      [validation]
      num_sequences = 4
    )";
  }
  Recipe recipe(const std::vector<std::string>& overrides = {}) const {
    return parse_recipe(text(), "small.toml", overrides);
  }
  std::string recipe_file() const {
    const std::string path = folder_ + "/small.toml";
    // Once: a process that was started may be reading it.
    if (!std::filesystem::exists(path)) std::ofstream(path) << text();
    return path;
  }

 private:
  // Text with something to learn: each id follows from the one before, mostly.
  void write_shard(const std::string& name, int count) {
    data::ShardWriter writer(folder_ + "/" + name, count);
    std::vector<int> ids(static_cast<size_t>(count));
    for (int i = 1; i < count; ++i) {
      ids[i] = i % 13 == 0 ? (i * 31) % 97 : (ids[i - 1] * 5 + 7) % 97;
    }
    writer.append(ids);
    writer.finish();
  }

  std::string folder_;
};

inline std::vector<nlohmann::json> json_lines(const std::string& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_discarded()) lines.push_back(std::move(json));  // a line may still be in writing
  }
  return lines;
}

}  // namespace mapl::train
