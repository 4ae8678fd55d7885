// The repository as text.
#pragma once

#include <string>
#include <vector>

namespace mapl::house {

struct TextFile {
  std::string path;                // from the root of the repository: "src/codec/packing.h"
  std::vector<std::string> lines;  // without line ends

  std::string room() const;         // "codec"; empty outside src/
  std::string included_as() const;  // "codec/packing.h"
};

// Every .h, .cpp and CMakeLists.txt below src/, in order of path.
std::vector<TextFile> source_tree();

// A file that does not exist has no lines.
TextFile read_text(const std::string& path);

}  // namespace mapl::house
