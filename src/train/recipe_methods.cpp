#include "train/recipe_methods.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/status.h"

namespace mapl::train {
namespace {

enum : unsigned { kReparametrised = 1, kWithMeanOff = 2, kTurned = 4 };

struct Method {
  const char* name;
  const char* projector;
  const char* anchor;
  const char* activation;
  const char* gradient;
  unsigned more = 0;
};

constexpr Method kMethods[] = {
    {"uncompressed", "identity", "none", "bf16", "bf16"},
    {"mapl", "stiefel", "factorized", "bf16", "bf16"},
    {"mapl-int8", "stiefel", "factorized", "int8", "int8"},
    {"mapl-int4", "stiefel", "factorized", "int4", "int4", kWithMeanOff | kTurned},
    {"mapl-vq", "stiefel", "factorized", "rvq", "bf16", kWithMeanOff},
    {"frozen", "frozen", "factorized", "bf16", "bf16"},
    {"free", "free", "factorized", "bf16", "bf16"},
    {"quantised", "identity", "none", "int8", "int8"},
    {"topk", "identity", "none", "topk", "topk"},
    {"ssn", "subspace", "fixed", "bf16", "bf16"},
    {"reparam-ssn", "subspace", "fixed", "bf16", "bf16", kReparametrised},
    {"resbm", "bottleneck", "none", "bf16", "bf16"},
};

}  // namespace

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const Method& method : kMethods) names.emplace_back(method.name);
  return names;
}

codec::Options method(const std::string& name, codec::Options base) {
  for (const Method& method : kMethods) {
    if (name != method.name) continue;
    base.projector = method.projector;
    base.anchor = method.anchor;
    base.activation = method.activation;
    base.gradient = method.gradient;
    base.reparametrised = (method.more & kReparametrised) != 0;
    base.subtract_mean = (method.more & kWithMeanOff) != 0;
    base.hadamard = (method.more & kTurned) != 0;
    if (base.anchor != "factorized") {
      // WHY: a recipe's file may give these to MAPL. Left in place they would make of another
      // method MAPL's control, or have it refused.
      base.ngram = 0;
      base.first_anchor = "own";
      base.basis_restart = 0;
    }
    return base;
  }
  throw UserError(fmt::format("boundary.method = \"{}\" is unknown: use one of {}", name,
                              fmt::join(method_names(), ", ")));
}

}  // namespace mapl::train
