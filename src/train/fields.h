// The one list of a recipe's keys: parse, print, diff, hash, validate and docs/recipe.md all read
// it.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "train/recipe.h"

namespace mapl::train {

// What is true of a key's value whatever the other keys say.
struct Rules {
  double least = 0;  // of numbers, also in lists
  double most = 1e9;
  std::vector<std::string> choices = {};  // of strings; empty: any
  bool shared = true;                     // the stages of a run must agree on it
};

// One key, bound to its place in a Recipe, which must outlive it.
struct Field {
  using Target = std::variant<bool*, int64_t*, double*, std::string*, std::vector<int64_t>*,
                              std::vector<Recipe::Peer>*>;
  std::string key;
  Target target;
  std::string help;  // what it means, in which unit
  Rules rules = {};
  std::string section = "";

  std::string name() const { return section + "." + key; }
};

// In the order of the file.
std::vector<Field> fields(Recipe& recipe);

// The tables of docs/recipe.md.
std::string markdown();

}  // namespace mapl::train
