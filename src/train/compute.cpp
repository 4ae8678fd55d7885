#include "train/compute.h"

#include <ATen/Parallel.h>
#include <link.h>

#include <filesystem>

namespace mapl::train {

void set_compute_threads(int64_t threads) { at::set_num_threads(static_cast<int>(threads)); }

std::string blas_problem() {
  std::string path;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) {
        const std::string name = info->dlpi_name;
        if (name.find("libblas.so") == std::string::npos) return 0;
        *static_cast<std::string*>(found) = name;
        return 1;
      },
      &path);
  if (path.empty()) return "";  // this LibTorch brings its own
  std::error_code error;
  const auto resolved = std::filesystem::canonical(path, error);
  return blas_problem_of(error ? path : resolved.string());
}

std::string blas_problem_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path().filename();
  if (folder != "blas") return "";
  return "computing with the reference BLAS (" + path +
         "), about thirty times slower than OpenBLAS; install it: apt-get install libopenblas-dev";
}

}  // namespace mapl::train
