#include "checkpoint/manifest.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <torch/torch.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "base/check.h"
#include "base/status.h"
#include "checkpoint/file.h"

namespace mapl::checkpoint {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kFormat = "mapl checkpoint";
constexpr int64_t kFormatVersion = 1;
constexpr int64_t kMaxStages = 65536;
constexpr int kMostNesting = 4;
constexpr size_t kMaxManifestBytes = kMaxHeaderBytes;
constexpr const char* kAside = "json.aside";
constexpr const char* kSelfHash = "manifest_xxh3_64";
constexpr const char* kAdvice =
    "copy it again from the machine that wrote it, or delete the folder to use an older checkpoint";

struct Manifest {
  int64_t step = 0;
  int64_t stage = 0;
  int64_t num_stages = 0;
  std::string file;
  uint64_t file_bytes = 0;
  std::string file_hash;
  std::vector<std::string> tensors;
  Metadata metadata;
};

std::string file_name(int64_t stage, const char* extension) {
  return fmt::format("stage-{}.{}", stage, extension);
}

std::string hex(uint64_t hash) { return fmt::format("{:016x}", hash); }

std::string printed(const Json& json) { return json.dump(2) + "\n"; }

std::string to_text(const Manifest& manifest) {
  Json json = {{"format", kFormat},
               {"format_version", kFormatVersion},
               {"mapl_version", MAPL_VERSION},
               {"step", manifest.step},
               {"stage", manifest.stage},
               {"num_stages", manifest.num_stages},
               {"file", manifest.file},
               {"file_bytes", manifest.file_bytes},
               {"file_xxh3_64", manifest.file_hash},
               {"tensors", manifest.tensors},
               {"metadata", manifest.metadata}};
  json[kSelfHash] = hex(hash_bytes(json.dump()));
  return printed(json);
}

// Throws Json::exception or std::runtime_error with what is wrong.
Manifest from_text(const std::string& text) {
  const auto is_shallow = [](int depth, Json::parse_event_t, Json&) {
    // WHY: nesting costs stack when the JSON is printed again below.
    if (depth > kMostNesting) throw std::runtime_error("it is nested too deeply");
    return true;
  };
  Json json = Json::parse(text, is_shallow);
  const bool is_as_written = printed(json) == text;
  const auto self_hash = json.at(kSelfHash).get<std::string>();
  json.erase(kSelfHash);
  if (json.at("format") != kFormat) throw std::runtime_error("it is not a checkpoint's manifest");
  if (json.at("format_version") != kFormatVersion)
    throw std::runtime_error(fmt::format("format version {} is not known to this mapl ({})",
                                         json.at("format_version").dump(), MAPL_VERSION));
  if (hex(hash_bytes(json.dump())) != self_hash)
    throw std::runtime_error("its own hash does not fit what it says");
  // What was altered without a change of meaning was altered all the same.
  if (!is_as_written) throw std::runtime_error("it is not as mapl wrote it");
  return {.step = json.at("step"),
          .stage = json.at("stage"),
          .num_stages = json.at("num_stages"),
          .file = json.at("file"),
          .file_bytes = json.at("file_bytes"),
          .file_hash = json.at("file_xxh3_64"),
          .tensors = json.at("tensors"),
          .metadata = json.at("metadata")};
}

Manifest read_manifest(const fs::path& folder, int64_t stage) {
  const std::string path = (folder / file_name(stage, "json")).string();
  const MappedFile file(path);
  Manifest manifest;
  try {
    if (file.bytes().size() > kMaxManifestBytes) throw std::runtime_error("it is too large");
    manifest = from_text({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
    if (manifest.stage != stage || manifest.file != file_name(stage, "safetensors"))
      throw std::runtime_error(
          fmt::format("it speaks of stage {} ({})", manifest.stage, manifest.file));
    if (manifest.num_stages <= stage || manifest.num_stages > kMaxStages)
      throw std::runtime_error(
          fmt::format("stage {} of {} cannot be", manifest.stage, manifest.num_stages));
  } catch (const std::exception& error) {
    throw UserError(fmt::format("{} is damaged: {}; {}", path, error.what(), kAdvice));
  }
  return manifest;
}

void check_size(const fs::path& folder, const Manifest& manifest) {
  const fs::path data = folder / manifest.file;
  std::error_code error;
  const uint64_t bytes = fs::file_size(data, error);
  if (error || bytes != manifest.file_bytes)
    throw UserError(fmt::format("{} {}, its manifest says {} bytes; {}", data.string(),
                                error ? "cannot be read" : fmt::format("has {} bytes", bytes),
                                manifest.file_bytes, kAdvice));
}

// The manifests of all stages, which agree, with data files of the right size.
std::vector<Manifest> read_manifests(const fs::path& folder) {
  std::vector<Manifest> manifests;
  for (int64_t stage = 0; stage == 0 || stage < manifests.front().num_stages; ++stage) {
    if (!fs::exists(folder / file_name(stage, "json")))
      throw UserError(fmt::format(
          "the checkpoint {} is not complete: {} is missing{}; copy it and its .safetensors file "
          "here, or use an older checkpoint",
          folder.string(), file_name(stage, "json"),
          stage == 0 ? "" : fmt::format(" (stage {} of {})", stage, manifests[0].num_stages)));
    const Manifest manifest = read_manifest(folder, stage);
    const Manifest& first = stage == 0 ? manifest : manifests.front();
    if (manifest.step != first.step || manifest.num_stages != first.num_stages ||
        manifest.metadata != first.metadata)
      throw UserError(fmt::format(
          "{}: {} is of step {} of a run of {} stages, stage-0.json of step {} of {} or of another "
          "run (metadata {} and {}); delete the files that do not belong",
          folder.string(), file_name(stage, "json"), manifest.step, manifest.num_stages, first.step,
          first.num_stages, Json(manifest.metadata).dump(), Json(first.metadata).dump()));
    check_size(folder, manifest);
    manifests.push_back(manifest);
  }
  return manifests;
}

std::vector<std::string> sorted_names(const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

NamedTensors load_verified(const fs::path& folder, const Manifest& manifest) {
  const std::string path = (folder / manifest.file).string();
  const MappedFile file(path);
  if (hex(hash_bytes(file.bytes())) != manifest.file_hash)
    throw UserError(
        fmt::format("{} is damaged: its hash is not that of its manifest; {}", path, kAdvice));
  NamedTensors tensors = parse_safetensors(file.bytes(), path);
  if (sorted_names(tensors) != manifest.tensors)
    throw UserError(
        fmt::format("{} does not hold the tensors that its manifest lists; {}", path, kAdvice));
  return tensors;
}

// The manifest of a stage of a cut into num_stages; none when the folder holds another cut.
std::optional<Manifest> own_part(const fs::path& folder, int64_t step, int64_t stage,
                                 int64_t num_stages) {
  if (!fs::exists(folder / file_name(stage, "json"))) return std::nullopt;
  const Manifest manifest = read_manifest(folder, stage);
  if (manifest.num_stages != num_stages) return std::nullopt;
  if (manifest.step != step)
    throw UserError(fmt::format("{} is of step {}, its folder of step {}; {}",
                                (folder / file_name(stage, "json")).string(), manifest.step, step,
                                kAdvice));
  return manifest;
}

// Folders step-<n> below root, oldest first.
std::map<int64_t, fs::path> step_folders(const std::string& root) {
  constexpr std::string_view kPrefix = "step-";
  std::map<int64_t, fs::path> folders;
  for (const std::string& name : list_folder(root)) {
    int64_t step = 0;
    if (!name.starts_with(kPrefix)) continue;
    const auto parsed =
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
    if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size() && step >= 0)
      folders[step] = fs::path(root) / name;
  }
  return folders;
}

}  // namespace

void save_stage(const std::string& root, int64_t step, int64_t stage, int64_t num_stages,
                const NamedTensors& tensors, const Metadata& metadata) {
  MAPL_CHECK(stage >= 0 && stage < num_stages, "stage {} of {}", stage, num_stages);
  const fs::path folder = fs::path(root) / fmt::format("step-{}", step);
  make_folder(folder.string());
  const std::string manifest_path = (folder / file_name(stage, "json")).string();
  const std::string data_path = (folder / file_name(stage, "safetensors")).string();
  // WHY: a step that is saved again must not stand there with new data under an old manifest.
  std::error_code ignored;
  fs::remove(manifest_path, ignored);

  save_safetensors(
      data_path, tensors,
      {{"format", "pt"}, {"step", std::to_string(step)}, {"mapl_version", MAPL_VERSION}});
  const MappedFile data(data_path);
  const std::string text = to_text({.step = step,
                                    .stage = stage,
                                    .num_stages = num_stages,
                                    .file = file_name(stage, "safetensors"),
                                    .file_bytes = data.bytes().size(),
                                    .file_hash = hex(hash_bytes(data.bytes())),
                                    .tensors = sorted_names(tensors),
                                    .metadata = metadata});
  AtomicFile manifest(manifest_path);
  manifest.write(std::as_bytes(std::span(text)));
  manifest.commit();
}

Checkpoint load_checkpoint(const std::string& folder) {
  const std::vector<Manifest> manifests = read_manifests(folder);
  Checkpoint checkpoint{.step = manifests[0].step,
                        .num_stages = manifests[0].num_stages,
                        .metadata = manifests[0].metadata};
  std::map<std::string, int64_t> owner;
  for (const Manifest& manifest : manifests)
    for (auto& [name, tensor] : load_verified(folder, manifest)) {
      const auto [at, is_new] = owner.emplace(name, manifest.stage);
      if (!is_new)
        throw UserError(fmt::format("{}: stages {} and {} both hold the tensor '{}'; {}", folder,
                                    at->second, manifest.stage, name, kAdvice));
      checkpoint.tensors.emplace_back(name, std::move(tensor));
    }
  return checkpoint;
}

std::optional<std::string> latest_checkpoint(const std::string& root) {
  const auto folders = step_folders(root);
  for (auto at = folders.rbegin(); at != folders.rend(); ++at) {
    try {
      read_manifests(at->second);
      return at->second.string();
    } catch (const UserError& error) {
      spdlog::warn("passed over: {}", error.what());
    }
  }
  return std::nullopt;
}

std::optional<Checkpoint> load_latest_checkpoint(const std::string& root) {
  const auto folders = step_folders(root);
  for (auto at = folders.rbegin(); at != folders.rend(); ++at) {
    try {
      return load_checkpoint(at->second.string());
    } catch (const UserError& error) {
      spdlog::warn("passed over: {}", error.what());
    }
  }
  return std::nullopt;
}

std::vector<int64_t> resumable_steps(const std::string& root, int64_t stage, int64_t num_stages) {
  std::vector<int64_t> steps;
  for (const auto& [step, folder] : step_folders(root)) {
    try {
      if (const auto own = own_part(folder, step, stage, num_stages)) {
        check_size(folder, *own);
        steps.push_back(step);
      } else if (read_manifests(folder).front().num_stages != num_stages) {
        steps.push_back(step);
      }
    } catch (const UserError& error) {
      spdlog::warn("passed over: {}", error.what());
    }
  }
  return steps;
}

NamedTensors load_for_stage(const std::string& root, int64_t step, int64_t stage,
                            int64_t num_stages) {
  const fs::path folder = fs::path(root) / fmt::format("step-{}", step);
  const auto own = own_part(folder, step, stage, num_stages);
  if (!own) return load_checkpoint(folder.string()).tensors;
  check_size(folder, *own);
  return load_verified(folder, *own);
}

void set_aside_after(const std::string& root, int64_t stage, int64_t step) {
  const auto folders = step_folders(root);
  for (auto at = folders.upper_bound(step); at != folders.end(); ++at) {
    const fs::path manifest = at->second / file_name(stage, "json");
    std::error_code error;
    if (!fs::exists(manifest)) continue;
    fs::rename(manifest, at->second / file_name(stage, kAside), error);
    if (error) {
      throw UserError(
          fmt::format("{} is of a step that the run has gone back from, and cannot be "
                      "set aside: {}; make the folder writable",
                      manifest.string(), error.message()));
    }
    spdlog::warn("the run has gone back to step {}; set aside: {}", step, manifest.string());
  }
}

void prune(const std::string& root, int64_t stage, int64_t before, int64_t keep) {
  MAPL_CHECK(keep >= 2, "keeping {} checkpoints may leave none that is complete", keep);
  const auto folders = step_folders(root);
  int64_t seen = 0;
  for (auto at = std::make_reverse_iterator(folders.lower_bound(before)); at != folders.rend();
       ++at) {
    const fs::path& folder = at->second;
    if (seen < keep) {
      seen += fs::exists(folder / file_name(stage, "json"));
      continue;
    }
    std::error_code ignored;
    // The manifest first: what is left of a checkpoint never looks complete.
    for (const char* extension : {"json", "safetensors", "json.tmp", "safetensors.tmp", kAside})
      fs::remove(folder / file_name(stage, extension), ignored);
    fs::remove(folder, ignored);  // succeeds for the last stage only
  }
}

}  // namespace mapl::checkpoint
