// What others build on: numbers and fields on the wire, keys of a recipe, commands.
// tests/surface.txt lists it; a change of the code edits the list, so that the reader of the change
// sees it.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <string>

#include "source_tree.h"

namespace mapl::house {
namespace {

using Lines = std::set<std::string>;

// The text from the line that starts with `first` to the next "};", without comments.
std::string block(const std::string& path, const std::string& first) {
  std::string text;
  for (const std::string& line : read_text(path).lines) {
    if (text.empty() && !line.starts_with(first)) continue;
    text += line.substr(0, line.find("//")) + "\n";
    if (line.find("};") != std::string::npos) break;
  }
  EXPECT_FALSE(text.empty()) << path << " has no " << first;
  return text;
}

// One line for each match: `prefix`, then the pattern's groups.
Lines matches(const std::string& text, const std::string& pattern, const std::string& prefix) {
  const std::regex regex(pattern);
  Lines lines;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) {
    std::string line = prefix;
    for (size_t group = 1; group < it->size(); ++group) line.append(" ").append(it->str(group));
    lines.insert(line);
  }
  return lines;
}

// Methods and keys as docs/recipe.md prints them; src/train's tests keep that page equal to the
// code.
Lines recipe_keys() {
  static const std::regex heading(R"(## \[(\w+)\])");
  static const std::regex row(R"(\| `([\w-]+)` \|.*)");
  Lines keys;
  std::string section;
  for (const std::string& line : read_text("docs/recipe.md").lines) {
    std::smatch match;
    if (std::regex_match(line, match, heading)) section = match[1];
    if (!std::regex_match(line, match, row)) continue;
    std::string key = section.empty() ? "method " : "recipe ";
    if (!section.empty()) key.append(section).append(".");
    keys.insert(key.append(match[1]));
  }
  return keys;
}

// Subcommands of the two programs, by the room whose sources add them.
Lines commands() {
  static const std::string added = R"re(add_subcommand\(\s*"([\w-]+)")re";
  static const std::map<std::string, std::string> programs = {{"cli", "mapl"},
                                                              {"data", "mapl-tokenizer"}};
  Lines all;
  for (const TextFile& file : source_tree()) {
    const auto program = programs.find(file.room());
    if (program == programs.end() || file.path.ends_with("_test.cpp")) continue;
    std::string text;
    for (const std::string& line : file.lines) text += line + "\n";
    all.merge(matches(text, added, "command " + program->second));
  }
  return all;
}

Lines code_surface() {
  static const std::string enumerator = R"(\bk(\w+) = (\d+))";
  static const std::string member = R"(([\w:]+) (\w+)(?: = [^;]*)?;)";
  Lines all = matches(block("src/codec/packing.h", "enum class PackingId"), enumerator, "packing");
  all.merge(matches(block("src/link/frame.h", "enum class Kind"), enumerator, "frame"));
  all.merge(matches(block("src/link/frame.h", "struct Header"), member, "header"));
  all.merge(matches(block("src/link/frame.h", "constexpr uint16_t kWireVersion"),
                    R"(kWireVersion = (\d+))", "wire_version"));
  all.merge(recipe_keys());
  all.merge(commands());
  return all;
}

Lines listed_surface() {
  Lines lines;
  for (const std::string& line : read_text("tests/surface.txt").lines) {
    if (!line.empty() && !line.starts_with("#")) lines.insert(line);
  }
  return lines;
}

TEST(Surface, CodeAndListAgree) {
  const Lines code = code_surface();
  const Lines listed = listed_surface();
  for (const std::string& line : code) {
    EXPECT_TRUE(listed.contains(line)) << "not in tests/surface.txt: " << line;
  }
  for (const std::string& line : listed) {
    EXPECT_TRUE(code.contains(line)) << "in tests/surface.txt, but no longer in the code: " << line;
  }
}

// A number on the wire means one thing for ever.
TEST(Surface, NumbersAreUsedOnce) {
  static const std::regex numbered(R"((packing|frame) \w+ (\d+))");
  std::set<std::string> used;
  for (const std::string& line : listed_surface()) {
    std::smatch match;
    if (!std::regex_match(line, match, numbered)) continue;
    EXPECT_TRUE(used.insert(match.str(1) + " " + match.str(2)).second) << line;
  }
  EXPECT_FALSE(used.empty());
}

}  // namespace
}  // namespace mapl::house
