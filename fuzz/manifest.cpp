// The manifest of a checkpoint whose data are whole. Half of the inputs get the hash that belongs
// to what they say, so that what lies behind it is reached.
#include "checkpoint/manifest.h"

#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/check.h"
#include "base/status.h"

namespace {

using Json = nlohmann::json;

// A root with a folder step-7, gone at the end.
class Root {
 public:
  Root() {
    spdlog::set_level(spdlog::level::off);
    std::string pattern = (std::filesystem::temp_directory_path() / "mapl-fuzz-XXXXXX").string();
    MAPL_CHECK(mkdtemp(pattern.data()) != nullptr, "no folder {}", pattern);
    path_ = pattern;
    mapl::checkpoint::save_stage(path_, 7, 0, 1, {{"model.norm.weight", torch::ones({4})}});
  }
  ~Root() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  std::string step() const { return path_ + "/step-7"; }

 private:
  std::string path_;
};

std::string with_its_hash(const std::string& text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return text;
  json.erase("manifest_xxh3_64");
  try {
    json["manifest_xxh3_64"] = fmt::format("{:016x}", mapl::hash_bytes(json.dump()));
    return json.dump();
  } catch (const Json::exception&) {  // text that is not UTF-8
    return text;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Root root;
  if (size == 0) return 0;
  std::string text(data + 1, data + size);
  if (data[0] % 2 == 0) text = with_its_hash(text);
  const std::string path = root.step() + "/stage-0.json";
  std::filesystem::remove(path);  // WHY: what replaces bytes of a file goes to the disk at once
  std::ofstream(path, std::ios::binary) << text;
  try {
    const auto checkpoint = mapl::checkpoint::load_checkpoint(root.step());
    MAPL_CHECK(checkpoint.tensors.size() == 1, "{} tensors", checkpoint.tensors.size());
  } catch (const mapl::UserError&) {
  }
  (void)mapl::checkpoint::resumable_steps(root.path(), 0, 1);
  return 0;
}
