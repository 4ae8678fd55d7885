// The threads and the BLAS that computing stands on.
#pragma once

#include <cstdint>
#include <string>

namespace mapl::train {

// For torch operators called from this thread. OpenBLAS counts its own, from OPENBLAS_NUM_THREADS.
void set_compute_threads(int64_t threads);

// ERRORS  UserError for a training.device that is not there
void check_device(const std::string& device);

// What is wrong with this process's BLAS and how to mend it; "" when nothing is. Debian's LibTorch
// computes with whatever libblas.so.3 is, and its reference BLAS is thirty times slower than
// OpenBLAS.
std::string blas_problem();

// The same for the path of a loaded libblas.so.3, links resolved.
std::string blas_problem_of(const std::string& path);

}  // namespace mapl::train
