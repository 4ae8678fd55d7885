#include "train/fields_toml.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace mapl::train {
namespace {

const toml::table kValues = toml::parse(R"(
    flag = true
    whole = 7
    real = 7.5
    text = "seven"
    wholes = [1, 2]
    mixed = [1, 2.5]
    none = []
    peers = [{endpoint = "tcp://a:1", public_key = "k"}, {endpoint = "tcp://b:1"}]
    odd_peers = [{endpoint = "tcp://a:1", secret_key = "s"}]
    bad_peers = [{endpoint = 5}]
    day = 2020-01-01
)");

template <typename T>
std::string taken() {
  T value{};
  const Field field{"key", &value, "help"};
  std::string keys;
  for (const auto& [key, node] : kValues)
    if (assign(field, node)) keys += std::string(key.str()) + " ";
  return keys;
}

TEST(FieldsToml, TakeTheirOwnTypeAlone) {
  EXPECT_EQ(taken<bool>(), "flag ");
  EXPECT_EQ(taken<int64_t>(), "whole ");
  EXPECT_EQ(taken<double>(), "real whole ");
  EXPECT_EQ(taken<std::string>(), "text ");
  EXPECT_EQ(taken<std::vector<int64_t>>(), "none wholes ");
  EXPECT_EQ(taken<std::vector<Recipe::Peer>>(), "none peers ");
}

template <typename T>
T there_and_back(T value) {
  const std::string text = to_toml(Field{"key", &value, "help"});
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  T back{};
  const toml::table table = toml::parse("key = " + text);
  EXPECT_TRUE(assign(Field{"key", &back, "help"}, *table.get("key"))) << text;
  return back;
}

TEST(FieldsToml, GiveBackEveryNumberToTheLastBit) {
  for (const double value : {0.0, 1.0, -3.0, 0.1, 0.02, 1e-10, 1e-5, 1e12, 1.0 / 3.0, 5e-324, 1e300,
                             123456789.125, std::nextafter(0.1, 1.0)})
    EXPECT_EQ(there_and_back(value), value);
  for (const int64_t value : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()})
    EXPECT_EQ(there_and_back(value), value);
  EXPECT_EQ(there_and_back(true), true);
}

TEST(FieldsToml, GiveBackTextAndLists) {
  for (const std::string value : {"", "a b", "it's", "\"quoted\"", "back\\slash", "two\nlines",
                                  "tab\t", "\x7f", "\x01", "\xc3\xa9", "# no comment"})
    EXPECT_EQ(there_and_back(value), value);
  EXPECT_EQ(there_and_back(std::vector<int64_t>{}), std::vector<int64_t>{});
  EXPECT_EQ(there_and_back(std::vector<int64_t>{3, 1}), (std::vector<int64_t>{3, 1}));
  const auto peers = there_and_back(std::vector<Recipe::Peer>{
      {.endpoint = "tcp://a:1", .public_key = "k\"1"}, {.next_endpoint = "tcp://b:1"}});
  ASSERT_EQ(peers.size(), 2u);
  EXPECT_EQ(peers[0].endpoint, "tcp://a:1");
  EXPECT_EQ(peers[0].public_key, "k\"1");
  EXPECT_EQ(peers[1].next_endpoint, "tcp://b:1");
  EXPECT_EQ(peers[1].endpoint, "");
}

}  // namespace
}  // namespace mapl::train
