// A recipe. What is accepted can be printed and read again, and is the same then.
#include "train/recipe.h"

#include "base/check.h"
#include "base/status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(data, data + size);
  try {
    const auto recipe = mapl::train::parse_recipe(text, "a recipe");
    const auto again = mapl::train::parse_recipe(mapl::train::print(recipe), "the recipe, printed");
    const std::string other = mapl::train::diff(recipe, again);
    MAPL_CHECK(other.empty(), "{}", other);
    MAPL_CHECK(hash(recipe) == hash(again), "another hash");
  } catch (const mapl::UserError&) {
  }
  return 0;
}
