// Model shapes worth a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace mapl::model {

// tiny, small, llama-150m, llama-500m, llama-1b, from the smallest to the largest.
std::vector<std::string> preset_names();

// ERRORS  UserError that lists the presets when `name` is none of them.
Config preset(std::string_view name);

}  // namespace mapl::model
