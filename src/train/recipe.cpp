#include "train/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/status.h"
#include "model/presets.h"
#include "train/fields.h"
#include "train/fields_toml.h"
#include "train/recipe_methods.h"

namespace mapl::train {
namespace {

// Levenshtein's: insertions, deletions and replacements between two words.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

// By the key first: the right key in the wrong section is near.
std::string nearest_name(const std::vector<Field>& all, std::string_view section,
                         std::string_view key) {
  const auto distance = [&](const Field& field) {
    return 3 * edit_distance(key, field.key) +
           std::min<size_t>(2, edit_distance(section, field.section));
  };
  return std::min_element(all.begin(), all.end(),
                          [&](const Field& a, const Field& b) { return distance(a) < distance(b); })
      ->name();
}

std::string nearest_section(const std::vector<Field>& all, std::string_view section) {
  return std::min_element(all.begin(), all.end(),
                          [&](const Field& a, const Field& b) {
                            return edit_distance(section, a.section) <
                                   edit_distance(section, b.section);
                          })
      ->section;
}

void check_section(const std::vector<Field>& all, std::string_view section,
                   const std::string& where) {
  for (const Field& field : all)
    if (field.section == section) return;
  throw UserError(fmt::format("{}: unknown section [{}]; did you mean [{}]?", where, section,
                              nearest_section(all, section)));
}

const Field& find(const std::vector<Field>& all, std::string_view section, std::string_view key,
                  const std::string& where) {
  check_section(all, section, where);
  for (const Field& field : all)
    if (field.section == section && field.key == key) return field;
  throw UserError(fmt::format("{}: unknown key {}.{}; did you mean {}?", where, section, key,
                              nearest_name(all, section, key)));
}

// "file:line" of a node.
std::string place(const std::string& source, const toml::node& node) {
  const auto line = node.source().begin.line;
  return line == 0 ? source : fmt::format("{}:{}", source, line);
}

// The keys of one source, over what the recipe holds. Presets and methods first: keys win over
// them.
void apply(Recipe& recipe, const toml::table& table, const std::string& source) {
  const std::vector<Field> all = fields(recipe);
  const auto assign_all = [&](bool only_names) {
    for (const auto& [section, node] : table) {
      const std::string where = place(source, node);
      const toml::table* keys = node.as_table();
      if (keys == nullptr)
        throw UserError(fmt::format("{}: {} stands outside of the sections; did you mean {}?",
                                    where, section.str(), nearest_name(all, "", section.str())));
      check_section(all, section.str(), where);
      for (const auto& [key, value] : *keys) {
        const Field& field = find(all, section.str(), key.str(), place(source, value));
        if (only_names && field.target != Field::Target(&recipe.preset) &&
            field.target != Field::Target(&recipe.method))
          continue;
        if (!assign(field, value))
          throw UserError(fmt::format("{}: {} must be {}, got {}", place(source, value),
                                      field.name(), expected_type(field), to_toml(value)));
      }
    }
  };
  assign_all(true);
  if (table.at_path("model.preset")) recipe.model = model::preset(recipe.preset);
  if (table.at_path("boundary.method")) recipe.boundary = method(recipe.method, recipe.boundary);
  assign_all(false);
}

// The value as TOML if it is, and if the key does not want a string; else the text itself.
void apply_override(Recipe& recipe, const std::string& text) {
  const std::string where = "--set " + text;
  const size_t equals = text.find('=');
  const size_t dot = text.find('.');
  if (equals == std::string::npos || dot > equals)
    throw UserError(
        fmt::format("{}: an override is section.key=value, such as boundary.rank=64", where));
  const std::string section = text.substr(0, dot);
  const std::string key = text.substr(dot + 1, equals - dot - 1);
  const std::string value = text.substr(equals + 1);
  const std::vector<Field> all = fields(recipe);
  const Field& field = find(all, section, key, where);

  toml::table keys;
  try {
    toml::table parsed = toml::parse("value = " + value);
    const bool wants_string = std::holds_alternative<std::string*>(field.target);
    const toml::node* node = parsed.get("value");
    if (parsed.size() == 1 && (!wants_string || node->is_string())) keys.insert(key, *node);
  } catch (const toml::parse_error&) {
    // WHY: "--set pipeline.schedule=1f1b" should not need two layers of quotes.
  }
  if (keys.empty()) keys.insert(key, value);
  // The lines of a one-line text mean nothing.
  apply(recipe, toml::table{{section, keys}}, where);
}

}  // namespace

Recipe parse_recipe(const std::string& text, const std::string& name,
                    const std::vector<std::string>& overrides) {
  Recipe recipe;
  try {
    apply(recipe, toml::parse(text), name);
  } catch (const toml::parse_error& error) {
    throw UserError(
        fmt::format("{}:{}: not TOML: {}", name, error.source().begin.line, error.description()));
  }
  for (const std::string& override_text : overrides) apply_override(recipe, override_text);
  validate(recipe);
  return recipe;
}

Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path))
    throw UserError(fmt::format("cannot read the recipe {}: no such file, or not readable", path));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return parse_recipe(text, path, overrides);
}

std::string print(const Recipe& recipe) {
  Recipe copy = recipe;
  std::string text;
  std::string section;
  for (const Field& field : fields(copy)) {
    if (field.section != section)
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", field.section);
    section = field.section;
    text += fmt::format("{} = {}\n", field.key, to_toml(field));
  }
  return text;
}

std::string diff(const Recipe& from, const Recipe& to, bool shared_only) {
  Recipe copies[] = {from, to};
  const auto before = fields(copies[0]);
  const auto after = fields(copies[1]);
  std::string text;
  for (size_t i = 0; i < before.size(); ++i)
    if ((before[i].rules.shared || !shared_only) && to_toml(before[i]) != to_toml(after[i]))
      text +=
          fmt::format("{}: {} -> {}\n", before[i].name(), to_toml(before[i]), to_toml(after[i]));
  return text;
}

uint64_t hash(const Recipe& recipe) {
  Recipe copy = recipe;
  std::string text;
  for (const Field& field : fields(copy))
    if (field.rules.shared) text += fmt::format("{} = {}\n", field.name(), to_toml(field));
  return hash_bytes(text);
}

}  // namespace mapl::train
