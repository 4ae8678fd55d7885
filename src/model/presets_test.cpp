#include "model/presets.h"

#include <gtest/gtest.h>

#include "base/status.h"
#include "model/names.h"

namespace mapl::model {
namespace {

int64_t num_parameters(const Config& config) {
  int64_t total = 0;
  for (const NamedShape& p : parameter_shapes(config)) {
    int64_t size = 1;
    for (int64_t n : p.shape) size *= n;
    total += size;
  }
  return total;
}

TEST(Presets, EveryOneIsALlama) {
  for (const std::string& name : preset_names()) EXPECT_NO_THROW(validate(preset(name))) << name;
}

// Counts by hand: 2 V D + L (4 D^2 + 3 D F + 2 D) + D.
TEST(Presets, HaveTheSizesOfTheirNames) {
  EXPECT_EQ(num_parameters(preset("tiny")), 2'631'808);
  EXPECT_EQ(num_parameters(preset("small")), 8'425'728);
  EXPECT_EQ(num_parameters(preset("llama-150m")), 168'313'856);
  EXPECT_EQ(num_parameters(preset("llama-500m")), 551'339'520);
  EXPECT_EQ(num_parameters(preset("llama-1b")), 953'223'168);
}

TEST(Presets, AnUnknownNameListsThem) {
  try {
    preset("huge");
    FAIL() << "no error";
  } catch (const UserError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("huge"), std::string::npos);
    for (const std::string& name : preset_names()) EXPECT_NE(text.find(name), std::string::npos);
  }
}

}  // namespace
}  // namespace mapl::model
