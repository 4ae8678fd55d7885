#include "train/compute.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "base/status.h"

namespace mapl::train {
namespace {

TEST(Compute, TheReferenceBlasIsAProblemAndOpenBlasIsNot) {
  EXPECT_EQ(blas_problem_of("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3"), "");
  const std::string problem = blas_problem_of("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0");
  EXPECT_NE(problem.find("apt-get install libopenblas-dev"), std::string::npos);
}

TEST(Compute, ThreadsAreSetForTheCaller) {
  set_compute_threads(1);
  EXPECT_EQ(at::get_num_threads(), 1);
}

TEST(Compute, ADeviceThatIsNotThereIsTheUsersError) {
  check_device("cpu");
  if (at::hasCUDA()) GTEST_SKIP() << "there is one";
  EXPECT_THROW(check_device("cuda"), UserError);
}

TEST(Compute, AnErrorOfLibTorchIsToldWithoutTheCallsThatLedToIt) {
  const c10::Error error({__func__, __FILE__, __LINE__}, "sizes do not match");
  EXPECT_NE(std::string(error.what()), error.what_without_backtrace());
  EXPECT_EQ(words_of(error), error.what_without_backtrace());
  EXPECT_EQ(words_of(UserError("a is 3")), "a is 3");
}

TEST(Compute, MemoryThatIsNotThereIsSaidInWords) {
  const c10::Error error({__func__, __FILE__, __LINE__},
                         "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8");
  EXPECT_TRUE(words_of(error).starts_with("out of memory; choose a smaller model or micro-batch"));
}

}  // namespace
}  // namespace mapl::train
