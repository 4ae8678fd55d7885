// Two ends of a c10d link in one process, as two stages would make them.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <utility>

#include "link/c10d.h"

namespace mapl::link {

inline C10dOptions stage_on_loopback(int stage, uint16_t port) {
  return {.launch = {.launcher = "test",
                     .stage = stage,
                     .num_stages = 2,
                     .address = "127.0.0.1",
                     .port = port,
                     .hosts_store = stage == 0,
                     .attempt = "0"}};
}

inline std::unique_ptr<C10dContext> start_on_loopback(int stage, uint16_t port) {
  auto context = C10dContext::start(stage_on_loopback(stage, port), in_seconds(60));
  EXPECT_TRUE(context.is_ok()) << context.status().to_string();
  return std::move(context.value());
}

using LinkPair = std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>>;

inline LinkPair open_both(C10dContext& first, C10dContext& second, const LinkOptions& a,
                          const LinkOptions& b) {
  auto other = std::async(std::launch::async, [&] { return second.open(0, b, in_seconds(60)); });
  auto here = first.open(1, a, in_seconds(60));
  auto there = other.get();
  EXPECT_TRUE(here.is_ok()) << here.status().to_string();
  EXPECT_TRUE(there.is_ok()) << there.status().to_string();
  return {std::move(here.value()), std::move(there.value())};
}

inline LinkPair make_c10d_pair(const LinkOptions& a, const LinkOptions& b) {
  const auto first = start_on_loopback(0, 0);
  const auto second = start_on_loopback(1, first->port());
  return open_both(*first, *second, a, b);
}

}  // namespace mapl::link
