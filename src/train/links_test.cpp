#include "train/links.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <latch>
#include <thread>
#include <zmq.hpp>

#include "link/chunks.h"
#include "link/loopback_for_test.h"
#include "train/small_run_for_test.h"
#include "train/trainer.h"

namespace mapl::train {
namespace {

std::string refusal(const Recipe& recipe, const std::optional<link::CurveIdentity>& identity) {
  Assembly assembly(recipe, 1);
  link::ZmqContext context;
  try {
    (void)open_links(recipe, 1, limits_of(recipe, assembly), context,
                     {.identity = identity, .seconds = 1});
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Links, EndpointsOfThisMachineAreForThisUserAlone) {
  std::string folder;
  {
    const LocalEndpoints endpoints(3);
    ASSERT_EQ(endpoints.peers().size(), 3u);
    folder = std::filesystem::path(endpoints.peers()[0].endpoint.substr(6)).parent_path();
    EXPECT_EQ(std::filesystem::status(folder).permissions(), std::filesystem::perms::owner_all);
  }
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST(Links, KeysMustBelongToTheRecipe) {
  const SmallRun small;
  const auto own = link::generate_identity();
  const auto other = link::generate_identity();
  const auto with_key = [&](const std::string& key) {
    return small.recipe({"pipeline.stages=2", "link.kind=zmq",
                         "link.stages=[{endpoint=\"tcp://127.0.0.1:1\", public_key=\"" + key +
                             "\"}, {endpoint=\"tcp://127.0.0.1:2\", public_key=\"" + key + "\"}]"});
  };
  EXPECT_NE(refusal(with_key(own.public_key), std::nullopt).find("--key"), std::string::npos);
  const std::string wrong = refusal(with_key(own.public_key), other);
  EXPECT_NE(wrong.find(other.public_key), std::string::npos) << wrong;
  EXPECT_NE(wrong.find(own.public_key), std::string::npos) << wrong;
}

// Stage 1 sits behind a router: it can reach others and nobody can reach it.
TEST(Links, EitherEndOfABoundaryMayListen) {
  const SmallRun small;
  Recipe recipe = small.recipe({"pipeline.stages=3", "link.kind=zmq"});
  const LocalEndpoints places(3);
  recipe.link.stages = {
      {.next_endpoint = places.peers()[0].endpoint}, {}, {.endpoint = places.peers()[2].endpoint}};
  std::vector<Status> statuses(3);
  std::latch all_are_there(3);
  {
    std::vector<std::jthread> threads;
    for (int k = 0; k < 3; ++k) {
      threads.emplace_back([&, k] {
        Assembly assembly(recipe, k);
        link::ZmqContext context;
        auto links = open_links(recipe, k, limits_of(recipe, assembly), context, {});
        statuses[static_cast<size_t>(k)] = links.status();
        all_are_there.arrive_and_wait();
        if (links.is_ok()) say_goodbye(links.value());
      });
    }
  }
  for (const Status& status : statuses) EXPECT_TRUE(status.is_ok()) << status.to_string();
}

TEST(Links, TheStageThatHasAnEndpointForAnotherListens) {
  const SmallRun small;
  Recipe recipe = small.recipe({"pipeline.stages=3", "link.kind=zmq"});
  recipe.link.stages = {
      {.next_endpoint = "tcp://127.0.0.1:1"}, {}, {.endpoint = "tcp://127.0.0.1:2"}};
  const auto check = [&](int stage, int neighbour, const std::string& endpoint, bool listens) {
    const Meeting meeting = meeting_of(recipe, stage, neighbour);
    EXPECT_EQ(meeting.endpoint, endpoint);
    EXPECT_EQ(meeting.listens, listens) << stage << " for " << neighbour;
  };
  check(0, 1, "tcp://127.0.0.1:1", true);
  check(1, 0, "tcp://127.0.0.1:1", false);
  check(1, 2, "tcp://127.0.0.1:2", false);
  check(2, 1, "tcp://127.0.0.1:2", true);
}

TEST(Links, AWaitForANeighbourEndsWhenAskedTo) {
  const SmallRun small;
  Recipe recipe = small.recipe({"pipeline.stages=2", "link.kind=zmq"});
  const LocalEndpoints places(2);
  recipe.link.stages = places.peers();
  Assembly assembly(recipe, 0);
  link::ZmqContext context;
  std::stop_source stop;
  stop.request_stop();
  const auto links =
      open_links(recipe, 0, limits_of(recipe, assembly), context, {.stop = stop.get_token()});
  EXPECT_EQ(links.status().code(), Code::kClosed);
}

// It has started again by then and needs a new link, while stage 0 may be away for long.
TEST(Links, ANeighbourThatGoesEndsTheWaitForTheOther) {
  const SmallRun small;
  Recipe recipe = small.recipe({"pipeline.stages=3", "link.kind=zmq"});
  const LocalEndpoints places(3);
  recipe.link.stages = places.peers();
  Assembly middle(recipe, 1), last(recipe, 2);
  link::ZmqContext context;
  const std::jthread neighbour([&] {
    auto started = start_links(recipe, 2, limits_of(recipe, last), context, {});
    EXPECT_TRUE(wait_connected(*started.prev, in_seconds(60), {}).is_ok());
  });
  const auto links = open_links(recipe, 1, limits_of(recipe, middle), context, {.seconds = 60});
  EXPECT_EQ(links.status().code(), Code::kPeerLost) << links.status().to_string();
}

// A final word is passed on: so it waits for who shall hear it.
TEST(Links, ANeighbourThatSaysThatTheRunIsOverDoesNotEndTheWaitForTheOther) {
  const SmallRun small;
  Recipe recipe = small.recipe({"pipeline.stages=3", "link.kind=zmq"});
  const LocalEndpoints places(3);
  recipe.link.stages = places.peers();
  std::vector<std::unique_ptr<Assembly>> assemblies;
  for (const int k : {0, 1, 2}) assemblies.push_back(std::make_unique<Assembly>(recipe, k));
  link::ZmqContext context;
  std::atomic<bool> is_done = false;
  const std::jthread neighbour([&] {
    auto started = start_links(recipe, 2, limits_of(recipe, *assemblies[2]), context, {});
    EXPECT_TRUE(wait_connected(*started.prev, in_seconds(60), {}).is_ok());
    link::Frame abort{.header = {.kind = link::Kind::kAbort, .packing = link::kFinalAbort}};
    EXPECT_TRUE(started.prev->send(std::move(abort), in_seconds(60)).is_ok());
    EXPECT_TRUE(started.prev->flush(in_seconds(60)).is_ok());
    auto late = start_links(recipe, 0, limits_of(recipe, *assemblies[0]), context, {});
    EXPECT_TRUE(wait_connected(*late.next, in_seconds(60), {}).is_ok());
    while (!is_done) std::this_thread::yield();
  });
  const auto links =
      open_links(recipe, 1, limits_of(recipe, *assemblies[1]), context, {.seconds = 60});
  is_done = true;
  ASSERT_TRUE(links.is_ok()) << links.status().to_string();
  EXPECT_EQ(links.value().next->health().code(), Code::kEnded);
}

// Anyone can knock at the port of a stage that waits; it must not end as if its neighbour had the
// wrong key, which nobody starts again.
TEST(Links, AStrangerAtTheDoorSaysNothingOfTheNeighbour) {
  const SmallRun small;
  Recipe recipe = small.recipe({"pipeline.stages=2", "link.kind=zmq"});
  const auto own = link::generate_identity();
  const auto neighbour = link::generate_identity();
  const std::string endpoint = fmt::format("tcp://127.0.0.1:{}", link::free_port());
  recipe.link.stages = {{.public_key = neighbour.public_key},
                        {.endpoint = endpoint, .public_key = own.public_key}};
  Assembly assembly(recipe, 1);
  link::ZmqContext context;
  const std::jthread stranger([&] {
    const link::ZmqOptions options{.endpoint = endpoint,
                                   .own = link::generate_identity(),
                                   .peer_public_key = own.public_key,
                                   .connect_seconds = 60};
    EXPECT_EQ(context.open(options).status().code(), Code::kRefused);
  });
  const Status status =
      open_links(recipe, 1, limits_of(recipe, assembly), context, {.identity = own, .seconds = 3})
          .status();
  EXPECT_EQ(status.code(), Code::kTimeout) << status.to_string();
}

// That one would be the same another time.
TEST(Links, ANeighbourOfAnotherWireVersionIsRefused) {
  const SmallRun small;
  Recipe recipe = small.recipe({"pipeline.stages=2", "link.kind=zmq"});
  const LocalEndpoints places(2);
  recipe.link.stages = places.peers();
  Assembly assembly(recipe, 1);
  link::ZmqContext context;
  zmq::context_t other;
  zmq::socket_t peer(other, zmq::socket_type::pair);
  peer.set(zmq::sockopt::linger, 0);
  peer.connect(recipe.link.stages[1].endpoint);
  Bytes control = link::encode_control({.limit_bytes = 1 << 20});
  control[2] ^= std::byte{1};
  peer.send(zmq::buffer(control.data(), control.size()));
  const Status status =
      open_links(recipe, 1, limits_of(recipe, assembly), context, {.seconds = 60}).status();
  EXPECT_EQ(status.code(), Code::kRefused) << status.to_string();
}

TEST(Links, ALaunchMustHaveAProcessForEachStage) {
  const SmallRun small;
  link::Environment environment = {{"OMPI_COMM_WORLD_RANK", "1"},
                                   {"OMPI_COMM_WORLD_SIZE", "4"},
                                   {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};
  EXPECT_EQ(launch_of(small.recipe(), environment).stage, 1);
  environment["OMPI_COMM_WORLD_SIZE"] = "2";
  environment["MASTER_ADDR"] = "127.0.0.1";
  try {
    (void)launch_of(small.recipe(), environment);
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "mpirun has started 2 processes, pipeline.stages is 4: start one for each stage, "
                 "or set pipeline.stages=2");
  }
}

}  // namespace
}  // namespace mapl::train
