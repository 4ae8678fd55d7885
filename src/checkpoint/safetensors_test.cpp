#include "checkpoint/safetensors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/status.h"
#include "checkpoint/testing.h"

namespace mapl::checkpoint {
namespace {

// A file with any header, true or not.
Bytes file_of(const std::string& header, size_t data_bytes) {
  const uint64_t header_bytes = header.size();
  Bytes bytes(sizeof(header_bytes) + header.size() + data_bytes);
  std::memcpy(bytes.data(), &header_bytes, sizeof(header_bytes));
  std::memcpy(bytes.data() + sizeof(header_bytes), header.data(), header.size());
  return bytes;
}

void expect_refused(ByteSpan bytes, const std::string& reason) {
  try {
    parse_safetensors(bytes, "some.safetensors");
    ADD_FAILURE() << "accepted, although " << reason;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("some.safetensors"), std::string::npos);
  }
}

void expect_equal(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_EQ(a[i].second.scalar_type(), b[i].second.scalar_type());
    EXPECT_TRUE(torch::equal(a[i].second, b[i].second)) << a[i].first;
  }
}

NamedTensors every_type() {
  NamedTensors tensors;
  for (const auto type :
       {at::kDouble, at::kLong, at::kFloat, at::kInt, at::kBFloat16, at::kHalf, at::kByte})
    tensors.emplace_back(c10::toString(type), (torch::arange(15) * 7).reshape({3, 5}).to(type));
  return tensors;
}

TEST(Safetensors, GiveBackEveryTypeAndTheMetadata) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  save_safetensors(path, every_type(), {{"format", "pt"}, {"quote", "\"\n"}});
  Metadata metadata;
  expect_equal(load_safetensors(path, &metadata), every_type());
  EXPECT_EQ(metadata, (Metadata{{"format", "pt"}, {"quote", "\"\n"}}));
}

TEST(Safetensors, KeepScalarsEmptyTensorsAndOddNames) {
  const TemporaryFolder folder;
  const NamedTensors tensors = {{"scalar", torch::tensor(2.5f)},
                                {"empty", torch::empty({0, 3})},
                                {"", torch::ones({1})},
                                {"tab\t\"quote\"\\ / \xc3\xa9 \xf0\x9f\x99\x82", torch::ones({2})},
                                {std::string("nul\0inside", 10), torch::ones({1})}};
  save_safetensors(folder / "x", tensors);
  const NamedTensors loaded = load_safetensors(folder / "x");
  const std::map<std::string, at::Tensor> by_name(loaded.begin(), loaded.end());
  ASSERT_EQ(by_name.size(), tensors.size());
  for (const auto& [name, tensor] : tensors)
    EXPECT_TRUE(torch::equal(by_name.at(name), tensor)) << name;
  save_safetensors(folder / "none", {});
  EXPECT_TRUE(load_safetensors(folder / "none").empty());
}

TEST(Safetensors, RefuseNamesThatAreNotUtf8AndLeaveNothing) {
  const TemporaryFolder folder;
  EXPECT_THROW(save_safetensors(folder / "x", {{"\xff", torch::ones({1})}}), UserError);
  EXPECT_TRUE(folder.names().empty());
}

TEST(Safetensors, SaveWhatATransposedTrainableViewShows) {
  const TemporaryFolder folder;
  const auto weight = torch::arange(6, at::kFloat).reshape({2, 3}).requires_grad_(true);
  save_safetensors(folder / "x", {{"w", weight.t()}});
  EXPECT_TRUE(torch::equal(load_safetensors(folder / "x")[0].second, weight.detach().t()));
}

// The reader here is written from the format's page, apart from the one under test.
TEST(Safetensors, AreWhatTheFormatSays) {
  const TemporaryFolder folder;
  save_safetensors(folder / "x",
                   {{"bytes", torch::tensor({1, 2, 3}, at::kByte)},
                    {"floats", torch::tensor({1.5f, -2.0f}).reshape({1, 2})}},
                   {{"a", "b"}});
  const Bytes bytes = read_bytes(folder / "x");
  const auto header_bytes = read_at<uint64_t>(bytes, 0);
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + 8;
  EXPECT_EQ(text[0], '{');
  EXPECT_EQ(header_bytes % 8, 0u);
  EXPECT_EQ(nlohmann::json::parse(text, text + header_bytes), nlohmann::json::parse(R"({
      "__metadata__": {"a": "b"},
      "floats": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
      "bytes": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]}})"));
  ASSERT_EQ(bytes.size(), 8 + header_bytes + 11);
  EXPECT_EQ(read_at<float>(bytes, 8 + header_bytes), 1.5f);
  EXPECT_EQ(read_at<float>(bytes, 8 + header_bytes + 4), -2.0f);
  EXPECT_EQ(bytes.back(), std::byte{3});
}

TEST(Safetensors, AreTheWorkedExampleOfTheirPage) {
  const TemporaryFolder folder;
  save_safetensors(folder / "x", {{"w", torch::tensor({1.0f, 2.0f})}});
  const std::string header = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  )";
  Bytes expected = file_of(header, 0);
  append(expected, 1.0f);
  append(expected, 2.0f);
  EXPECT_EQ(expected.size(), 72u);
  EXPECT_EQ(read_bytes(folder / "x"), expected);
}

TEST(Safetensors, ReadAFileWrittenByHand) {
  Bytes bytes = file_of(R"({"x":{"shape":[2],"data_offsets":[0,4],"dtype":"BF16"}}   )", 4);
  bytes[bytes.size() - 3] = std::byte{0x3f};  // bfloat16 0x3f80 = 1
  bytes[bytes.size() - 4] = std::byte{0x80};
  const NamedTensors tensors = parse_safetensors(bytes, "x");
  EXPECT_TRUE(torch::equal(tensors[0].second, torch::tensor({1.0, 0.0}).to(at::kBFloat16)));
}

TEST(Safetensors, RefuseEveryTruncationAndEveryAddition) {
  const TemporaryFolder folder;
  save_safetensors(folder / "x", {{"a", torch::ones({3})}, {"b", torch::ones({2}, at::kByte)}});
  Bytes bytes = read_bytes(folder / "x");
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_THROW(parse_safetensors(ByteSpan(bytes).first(length), "x"), UserError) << length;
  bytes.push_back(std::byte{0});
  expect_refused(bytes, "bytes of data");
}

// Whatever single byte of the header is altered, the file is refused or still describes its data
// once and without gaps: nothing is read out of bounds (the sanitizer build watches).
TEST(Safetensors, SurviveEveryAlteredHeaderByte) {
  const TemporaryFolder folder;
  save_safetensors(folder / "x", {{"a", torch::ones({3, 2})}, {"b", torch::ones({4}, at::kByte)}});
  const Bytes bytes = read_bytes(folder / "x");
  int refused = 0;
  const size_t header_end = 8 + read_at<uint64_t>(bytes, 0);
  for (size_t at = 0; at < header_end; ++at)
    for (int bit = 0; bit < 8; ++bit) {
      Bytes altered = bytes;
      altered[at] ^= static_cast<std::byte>(1 << bit);
      try {
        size_t total = 0;
        for (const auto& [name, tensor] : parse_safetensors(altered, "x")) total += tensor.nbytes();
        EXPECT_EQ(total, 28u);
      } catch (const UserError&) {
        ++refused;
      }
    }
  EXPECT_GT(refused, 500);
}

TEST(Safetensors, RefuseHostileHeaders) {
  expect_refused(Bytes(7), "too few for a header");
  expect_refused(Bytes(8, std::byte{0xff}), "claims a header of 18446744073709551615");
  expect_refused(file_of("{]", 0), "not JSON");
  expect_refused(file_of("[]", 0), "not a JSON object");
  expect_refused(file_of("\xff", 0), "not JSON");
  expect_refused(file_of("{\"x\":" + std::string(1000, '[') + std::string(1000, ']') + "}", 0),
                 "nested too deeply");
  expect_refused(file_of(R"({"__metadata__":{"a":1}})", 0), "not a string");
  expect_refused(file_of(R"({"__metadata__":3})", 0), "not an object");
}

TEST(Safetensors, RefuseHostileEntries) {
  const auto entry = [](const char* dtype, const char* shape, const char* offsets) {
    return fmt::format(R"("dtype":{},"shape":{},"data_offsets":{})", dtype, shape, offsets);
  };
  const auto refused = [](const std::string& fields, size_t data, const char* reason) {
    expect_refused(file_of("{\"x\":{" + fields + "}}", data), reason);
  };
  refused(R"("shape":[],"data_offsets":[0,4])", 4, "lacks dtype");
  refused(entry("\"F8\"", "[1]", "[0,1]"), 1, "type \"F8\"");
  refused(entry("7", "[1]", "[0,1]"), 1, "type 7");
  refused(entry("\"U8\"", "[-1]", "[0,1]"), 1, "has -1 where a size belongs");
  refused(entry("\"U8\"", "[1.5]", "[0,1]"), 1, "has 1.5 where a size belongs");
  refused(entry("\"U8\"", "[\"1\"]", "[0,1]"), 1, "where a size belongs");
  refused(entry("\"U8\"", "1", "[0,1]"), 1, "no proper shape");
  refused(entry("\"U8\"", "[18446744073709551615]", "[0,1]"), 1, "where a size belongs");
  // 2^32 x 2^32 elements: the product wraps round to 0 bytes.
  refused(entry("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0, "larger than memory");
  refused(entry("\"F32\"", "[0,4611686018427387904,4]", "[0,0]"), 0, "larger than memory");
  refused(entry("\"F32\"", "[2]", "[0,4]"), 4, "do not hold its 8 bytes");
  refused(entry("\"F32\"", "[1]", "[4,0]"), 4, "do not hold its 4 bytes");
  refused(entry("\"U8\"", "[1]", "[0]"), 1, "no proper data_offsets");
  refused(entry("\"U8\"", "[1]", "[1,2]"), 2, "begins at byte 1 of the data, not at 0");
  refused(entry("\"U8\"", "[1]", "[0,1]"), 2, "describes 1 bytes of data, 2 are there");
  refused(entry("\"U8\"", "[4]", "[0,4]"), 1, "describes 4 bytes of data, 1 are there");
  refused(entry("\"U8\"", "[1]", "[0,1]") + ",\"shape\":[1]", 1, "'shape' twice");

  const std::string x = "{\"x\":{" + entry("\"U8\"", "[2]", "[0,2]") + "},";
  expect_refused(file_of(x + "\"y\":{" + entry("\"U8\"", "[2]", "[1,3]") + "}}", 3), "begins at");
  expect_refused(file_of(x + "\"x\":{" + entry("\"U8\"", "[2]", "[2,4]") + "}}", 4), "'x' twice");
}

TEST(Safetensors, NameAFileThatIsNotThere) {
  try {
    load_safetensors("/no/such.safetensors");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "cannot read /no/such.safetensors: No such file or directory");
  }
}

}  // namespace
}  // namespace mapl::checkpoint
