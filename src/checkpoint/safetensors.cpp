#include "checkpoint/safetensors.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/check.h"
#include "base/status.h"
#include "checkpoint/file.h"

namespace mapl::checkpoint {
namespace {

using Json = nlohmann::json;

struct Dtype {
  const char* name;
  at::ScalarType type;
};
constexpr std::array<Dtype, 7> kDtypes = {{{"F64", at::kDouble},
                                           {"F32", at::kFloat},
                                           {"BF16", at::kBFloat16},
                                           {"F16", at::kHalf},
                                           {"I64", at::kLong},
                                           {"I32", at::kInt},
                                           {"U8", at::kByte}}};
constexpr const char* kMetadataKey = "__metadata__";
constexpr size_t kLengthBytes = sizeof(uint64_t);
constexpr size_t kAlignment = 8;

const char* dtype_name(const std::string& tensor, at::ScalarType type) {
  for (const Dtype& dtype : kDtypes)
    if (dtype.type == type) return dtype.name;
  MAPL_CHECK(false, "{} has a type that safetensors is not asked to hold: {}", tensor,
             c10::toString(type));
  return nullptr;
}

// What is wrong with a file; parse_safetensors() adds which file.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename... Args>
void require(bool condition, fmt::format_string<Args...> reason, Args&&... args) {
  if (!condition) throw Malformed(fmt::format(reason, std::forward<Args>(args)...));
}

// Refuses what a JSON library lets pass: keys given twice (readers disagree on which one counts),
// and nesting deeper than any header has (a cheap way to take much memory).
Json parse_header(const char* first, const char* last) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    require(depth <= 4, "the header is nested too deeply");
    if (event == Json::parse_event_t::object_start) {
      keys.resize(depth + 1);
      keys[depth].clear();
    } else if (event == Json::parse_event_t::key) {
      const auto name = parsed.get<std::string>();
      require(keys[depth - 1].insert(name).second, "the header has '{}' twice", name);
    }
    return true;
  };
  Json header;
  try {
    header = Json::parse(first, last, watch);
  } catch (const Json::exception& error) {
    throw Malformed(fmt::format("the header is not JSON ({})", error.what()));
  }
  require(header.is_object(), "the header is not a JSON object");
  return header;
}

struct Entry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

uint64_t whole_number(const std::string& name, const Json& value) {
  require(value.is_number_unsigned() && value.get<uint64_t>() <= INT64_MAX,
          "tensor '{}' has {} where a size belongs", name, value.dump());
  return value.get<uint64_t>();
}

Entry parse_entry(const std::string& name, const Json& json) {
  Entry entry{.name = name};
  require(json.is_object() && json.contains("dtype") && json.contains("shape") &&
              json.contains("data_offsets"),
          "tensor '{}' lacks dtype, shape or data_offsets", name);
  const auto known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const Dtype& dtype) { return json["dtype"] == dtype.name; });
  require(known != kDtypes.end(), "tensor '{}' has the type {}, which is not supported", name,
          json["dtype"].dump());
  entry.type = known->type;

  require(json["shape"].is_array() && json["shape"].size() <= 64, "tensor '{}' has no proper shape",
          name);
  // Strides are products of dimensions without the zeros: they must fit too.
  int64_t extent = static_cast<int64_t>(c10::elementSize(entry.type));
  bool empty = false;
  for (const Json& dimension : json["shape"]) {
    const int64_t size = whole_number(name, dimension);
    entry.shape.push_back(size);
    empty |= size == 0;
    require(!__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent),
            "tensor '{}' is larger than memory can be", name);
  }

  const Json& offsets = json["data_offsets"];
  require(offsets.is_array() && offsets.size() == 2, "tensor '{}' has no proper data_offsets",
          name);
  entry.begin = whole_number(name, offsets[0]);
  entry.end = whole_number(name, offsets[1]);
  const uint64_t size = empty ? 0 : extent;
  require(entry.begin <= entry.end && entry.end - entry.begin == size,
          "tensor '{}' has offsets {} that do not hold its {} bytes", name, offsets.dump(), size);
  return entry;
}

std::vector<Entry> parse_entries(const Json& header, uint64_t data_bytes, Metadata* metadata) {
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name != kMetadataKey) {
      entries.push_back(parse_entry(name, json));
      continue;
    }
    require(json.is_object(), "{} is not an object", kMetadataKey);
    for (const auto& [key, value] : json.items()) {
      require(value.is_string(), "{} '{}' is not a string", kMetadataKey, key);
      if (metadata != nullptr) (*metadata)[key] = value.get<std::string>();
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    require(entry.begin == covered, "tensor '{}' begins at byte {} of the data, not at {}",
            entry.name, entry.begin, covered);
    covered = entry.end;
  }
  require(covered == data_bytes, "the header describes {} bytes of data, {} are there", covered,
          data_bytes);
  return entries;
}

NamedTensors parse(ByteSpan bytes, Metadata* metadata) {
  require(bytes.size() >= kLengthBytes, "it has {} bytes, too few for a header", bytes.size());
  const auto header_bytes = read_at<uint64_t>(bytes, 0);
  require(header_bytes <= kMaxHeaderBytes && header_bytes <= bytes.size() - kLengthBytes,
          "it has {} bytes and claims a header of {}", bytes.size(), header_bytes);
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + kLengthBytes;
  const Json header = parse_header(text, text + header_bytes);
  const ByteSpan data = bytes.subspan(kLengthBytes + header_bytes);

  NamedTensors tensors;
  for (const Entry& entry : parse_entries(header, data.size(), metadata)) {
    at::Tensor tensor = torch::empty(entry.shape, torch::TensorOptions(entry.type));
    if (entry.end > entry.begin)
      std::memcpy(tensor.data_ptr(), data.data() + entry.begin, entry.end - entry.begin);
    tensors.emplace_back(entry.name, std::move(tensor));
  }
  return tensors;
}

std::string make_header(const std::string& path, const NamedTensors& tensors,
                        const Metadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    MAPL_CHECK(name != kMetadataKey && !header.contains(name), "tensor {} is there twice", name);
    const uint64_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", dtype_name(name, tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::ordered_json::exception& error) {
    throw UserError(fmt::format("cannot save {}: {}", path, error.what()));
  }
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  MAPL_CHECK(text.size() <= kMaxHeaderBytes, "a header of {} bytes", text.size());
  return text;
}

// `where` is how errors call it.
void write_parts(const std::string& where, const NamedTensors& tensors, const Metadata& metadata,
                 const std::function<void(ByteSpan)>& write) {
  NamedTensors ordered = tensors;
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  const std::string header = make_header(where, ordered, metadata);
  const uint64_t header_bytes = header.size();
  write(std::as_bytes(std::span(&header_bytes, 1)));
  write(std::as_bytes(std::span(header)));
  for (const auto& [name, tensor] : ordered) {
    const at::Tensor values = tensor.detach().to(at::kCPU).contiguous();
    write({static_cast<const std::byte*>(values.data_ptr()), values.nbytes()});
  }
}

}  // namespace

void save_safetensors(const std::string& path, const NamedTensors& tensors,
                      const Metadata& metadata) {
  AtomicFile file(path);
  write_parts(path, tensors, metadata, [&](ByteSpan part) { file.write(part); });
  file.commit();
}

Bytes to_safetensors(const NamedTensors& tensors) {
  Bytes bytes;
  write_parts("tensors", tensors, {},
              [&](ByteSpan part) { bytes.insert(bytes.end(), part.begin(), part.end()); });
  return bytes;
}

NamedTensors parse_safetensors(ByteSpan bytes, const std::string& path, Metadata* metadata) {
  try {
    return parse(bytes, metadata);
  } catch (const Malformed& error) {
    throw UserError(
        fmt::format("{} is damaged or is not a safetensors file: {}; copy it again or use another",
                    path, error.what()));
  }
}

NamedTensors load_safetensors(const std::string& path, Metadata* metadata) {
  const MappedFile file(path);
  return parse_safetensors(file.bytes(), path, metadata);
}

}  // namespace mapl::checkpoint
