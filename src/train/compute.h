// What computing stands on: threads, a device, a BLAS; and LibTorch's errors in words.
#pragma once

#include <cstdint>
#include <exception>
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

// What went wrong, without the calls in LibTorch that led to it.
std::string words_of(const std::exception& error);

}  // namespace mapl::train
