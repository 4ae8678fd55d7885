#pragma once

namespace mapl::train {

inline constexpr const char* kVersion = MAPL_VERSION;  // from CMakeLists.txt

}  // namespace mapl::train
