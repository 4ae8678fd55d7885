// Keeps docs/design.md true: who may include whom, and the small print that a machine can check.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "source_tree.h"

namespace mapl::house {
namespace {

using Table = std::map<std::string, std::set<std::string>>;

// The design. docs/design.md prints the same table.
const Table kMayInclude = {
    {"base", {}},
    {"math", {"base"}},
    {"codec", {"base", "math"}},
    {"model", {"base"}},
    {"link", {"base"}},
    {"data", {"base"}},
    {"checkpoint", {"base"}},
    {"report", {"base"}},
    {"pipeline", {"base", "math", "codec", "model", "link"}},
    {"train", {"base", "math", "codec", "model", "link", "pipeline", "data", "checkpoint"}},
    {"cli",
     {"base", "codec", "model", "link", "pipeline", "data", "checkpoint", "report", "train"}},
};

const std::set<std::string> kWithoutTorch = {"base", "link", "data", "report"};

// A link over torch's own engine must name it: a library of its own, link_c10d.
const std::set<std::string> kWithTorchsEngine = {"src/link/c10d.cpp", "src/link/nccl.h",
                                                 "src/link/nccl.cpp"};

// A program's main() is tested from outside, by running the program; two implementations of one
// header by one contract suite, ops_test.cpp. Of two files that CMake chooses from, the tests meet
// the one that is built here; NCCL's has never run.
const std::set<std::string> kWithoutTest = {"src/cli/main.cpp",        "src/model/ops_composed.cpp",
                                            "src/model/ops_fused.cpp", "src/link/no_c10d.cpp",
                                            "src/link/nccl.cpp",       "src/link/no_nccl.cpp"};

constexpr size_t kMaxLines = 400;
constexpr size_t kMaxColumns = 100;

std::set<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// Rows "| room | room room |" of the table headed "| room | may include |"; "-" stands for none.
Table printed_table(const TextFile& page) {
  static const std::regex row(R"(\|\s*([a-z]+)\s*\|\s*([a-z -]+?)\s*\|)");
  Table table;
  bool inside = false;
  for (const std::string& line : page.lines) {
    std::smatch match;
    if (line.starts_with("| room ")) {
      inside = true;
    } else if (inside && std::regex_match(line, match, row)) {
      table[match[1]] = match[2] == "-" ? std::set<std::string>{} : words(match[2]);
    } else if (inside && !line.starts_with("|")) {
      inside = false;
    }
  }
  return table;
}

struct Include {
  std::string path;    // "src/codec/anchor.h"
  std::string place;   // "src/codec/anchor.h:12"
  std::string room;    // that the line stands in
  std::string target;  // what it includes
  bool is_quoted = false;
};

std::vector<Include> includes() {
  static const std::regex include(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
  std::vector<Include> found;
  for (const TextFile& file : source_tree()) {
    for (size_t i = 0; i < file.lines.size(); ++i) {
      std::smatch match;
      if (!std::regex_match(file.lines[i], match, include)) continue;
      found.push_back({.path = file.path,
                       .place = file.path + ":" + std::to_string(i + 1),
                       .room = file.room(),
                       .target = match[2],
                       .is_quoted = match[1] == "\""});
    }
  }
  return found;
}

size_t columns(const std::string& line) {
  const auto is_first_byte = [](unsigned char byte) { return (byte & 0xC0) != 0x80; };  // UTF-8
  return std::count_if(line.begin(), line.end(), is_first_byte);
}

bool may_use(const std::string& room, const std::string& other) {
  const auto found = kMayInclude.find(room);
  return found != kMayInclude.end() && (room == other || found->second.contains(other));
}

TEST(Layering, DesignPagePrintsTheTable) {
  EXPECT_EQ(printed_table(read_text("docs/design.md")), kMayInclude);
}

TEST(Layering, TableHasNoCycle) {
  std::set<std::string> placed;  // rooms whose dependencies all stand below them
  for (size_t round = 0; round < kMayInclude.size(); ++round) {
    for (const auto& [room, others] : kMayInclude) {
      if (std::includes(placed.begin(), placed.end(), others.begin(), others.end())) {
        placed.insert(room);
      }
    }
  }
  for (const auto& [room, others] : kMayInclude) {
    EXPECT_TRUE(placed.contains(room)) << room << " depends on a cycle";
  }
}

TEST(Layering, IncludesFollowTheTable) {
  for (const Include& line : includes()) {
    if (!line.is_quoted) continue;
    const std::string other = line.target.substr(0, line.target.find('/'));
    EXPECT_TRUE(may_use(line.room, other)) << line.place << ": " << line.room << "/ includes "
                                           << line.target << ", which docs/design.md rules out";
  }
}

TEST(Layering, IncludesNameTheRoom) {
  std::set<std::string> headers;
  for (const TextFile& file : source_tree()) headers.insert(file.included_as());
  for (const Include& line : includes()) {
    EXPECT_EQ(line.is_quoted, headers.contains(line.target))
        << line.place << ": write \"room/file.h\" for a header of mapl, <...> for any other";
  }
}

TEST(Layering, RoomsWithoutTensorsIncludeNoTorch) {
  static const std::regex torch(R"((torch|ATen|c10|caffe2)/.*)");
  for (const Include& line : includes()) {
    if (kWithTorchsEngine.contains(line.path)) continue;
    EXPECT_FALSE(kWithoutTorch.contains(line.room) && std::regex_match(line.target, torch))
        << line.place << ": " << line.target;
  }
}

// mapl_room(NAME codec TORCH SOURCES ... LINK base math TESTS ...)
TEST(Layering, RoomsLinkWhatTheyMayInclude) {
  static const std::set<std::string> keywords = {"NAME", "TORCH", "SOURCES", "LINK", "TESTS"};
  static const std::regex punctuation("[()]");
  for (const TextFile& file : source_tree()) {
    if (!file.path.ends_with("CMakeLists.txt")) continue;
    std::string keyword;
    for (const std::string& line : file.lines) {
      if (line.starts_with("mapl_room(")) keyword = "NAME";
      std::istringstream stream(
          std::regex_replace(line.substr(0, line.find('#')), punctuation, " "));
      for (std::string word; stream >> word;) {
        if (keywords.contains(word)) {
          keyword = word;
        } else if (keyword == "LINK" && kMayInclude.contains(word)) {
          EXPECT_TRUE(may_use(file.room(), word)) << file.path << " links " << word;
        }
        EXPECT_FALSE(word == "TORCH" && kWithoutTorch.contains(file.room())) << file.path;
      }
    }
  }
}

TEST(Files, HaveTheirTestBesideThem) {
  std::set<std::string> tested, untested;
  for (const TextFile& file : source_tree()) {
    if (file.path.ends_with("_test.cpp")) tested.insert(file.path);
  }
  for (const TextFile& file : source_tree()) {
    const std::string stem = file.path.substr(0, file.path.rfind('.'));
    const bool is_source = file.path.ends_with(".cpp") && !tested.contains(file.path);
    const bool is_tested = tested.contains(stem + "_test.cpp") || kWithoutTest.contains(file.path);
    if (is_source && !is_tested) untested.insert(file.path);
  }
  EXPECT_TRUE(untested.empty()) << testing::PrintToString(untested);
}

TEST(Files, StayWithinTheirBudget) {
  std::set<std::string> too_long, too_wide;
  for (const TextFile& file : source_tree()) {
    if (file.lines.size() > kMaxLines) too_long.insert(file.path);
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const bool is_wide = columns(file.lines[i]) > kMaxColumns;
      if (is_wide) too_wide.insert(file.path + ":" + std::to_string(i + 1));
    }
  }
  EXPECT_TRUE(too_long.empty()) << testing::PrintToString(too_long);
  EXPECT_TRUE(too_wide.empty()) << testing::PrintToString(too_wide);
}

}  // namespace
}  // namespace mapl::house
