#include "train/compute.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <link.h>
#include <torch/version.h>

#include <filesystem>

#include "base/status.h"

namespace mapl::train {

void set_compute_threads(int64_t threads) { at::set_num_threads(static_cast<int>(threads)); }

void check_device(const std::string& device) {
  if (!device.starts_with("cuda") || at::hasCUDA()) return;
  throw UserError(fmt::format(
      "training.device is \"{}\", and LibTorch {} finds no CUDA device here: Debian's is built "
      "without CUDA (build mapl against one that has it: cmake --preset release "
      "-DCMAKE_PREFIX_PATH=/path/to/libtorch), or use training.device = \"cpu\"",
      device, TORCH_VERSION));
}

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

std::string words_of(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  if (torch == nullptr) return error.what();
  const std::string words = torch->what_without_backtrace();
  const bool is_memory = words.find("can't allocate memory") != std::string::npos ||
                         words.find("out of memory") != std::string::npos;
  if (!is_memory) return words;
  return "out of memory; choose a smaller model or micro-batch, or more stages (" + words + ")";
}

}  // namespace mapl::train
