#include "source_tree.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace mapl::house {

namespace fs = std::filesystem;

namespace {
const fs::path kRoot = MAPL_SOURCE_DIR;
const std::string kSource = "src/";
}  // namespace

std::string TextFile::included_as() const {
  return path.starts_with(kSource) ? path.substr(kSource.size()) : "";
}

std::string TextFile::room() const {
  const std::string inside = included_as();
  return inside.substr(0, inside.find('/'));
}

TextFile read_text(const std::string& path) {
  TextFile file{.path = path, .lines = {}};
  std::ifstream stream(kRoot / path);
  for (std::string line; std::getline(stream, line);) file.lines.push_back(line);
  return file;
}

std::vector<TextFile> source_tree() {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(kRoot / kSource)) {
    const fs::path& path = entry.path();
    const bool is_source = path.extension() == ".h" || path.extension() == ".cpp" ||
                           path.filename() == "CMakeLists.txt";
    if (is_source) paths.push_back(fs::relative(path, kRoot).generic_string());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<TextFile> files;
  for (const std::string& path : paths) files.push_back(read_text(path));
  return files;
}

}  // namespace mapl::house
