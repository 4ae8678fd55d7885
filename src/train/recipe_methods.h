// Names for common ways to treat a boundary: [boundary] method.
#pragma once

#include <string>
#include <vector>

#include "codec/codec.h"

namespace mapl::train {

std::vector<std::string> method_names();

// `base` with the projector, anchor and packings of the method; ranks and the rest stay.
//   ERRORS  UserError that lists the methods when `name` is none of them.
codec::Options method(const std::string& name, codec::Options base);

}  // namespace mapl::train
