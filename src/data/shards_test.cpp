#include "data/shards.h"

#include <cstring>
#include <numeric>

#include "base/status.h"
#include "data/scratch.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;

// A shard put together here from the documented layout, not by the writer.
std::string shard_bytes(int32_t magic, int32_t version, int32_t count,
                        const std::vector<uint16_t>& tokens) {
  std::string bytes(1024, '\0');
  const int32_t header[3] = {magic, version, count};
  std::memcpy(bytes.data(), header, sizeof(header));
  for (const uint16_t token : tokens) {
    bytes.push_back(static_cast<char>(token & 0xFF));
    bytes.push_back(static_cast<char>(token >> 8));
  }
  return bytes;
}

std::string refusal(const std::string& bytes) {
  const Scratch scratch;
  const std::string path = scratch.write("bad.bin", bytes);
  const std::string message = message_of<UserError>([&] { Shard shard(path); });
  EXPECT_THAT(message, HasSubstr(path));
  EXPECT_THAT(message, HasSubstr("mapl data"));  // what to do
  return message;
}

TEST(Shard, ReadsTheDocumentedLayout) {
  const Scratch scratch;
  const Shard shard(scratch.write("a.bin", shard_bytes(20240520, 1, 3, {1, 65535, 258})));
  EXPECT_THAT(shard.tokens(), testing::ElementsAre(1, 65535, 258));
}

TEST(Shard, RefusesWhatIsNoShard) {
  EXPECT_THAT(refusal(shard_bytes(7, 1, 1, {1})), HasSubstr("magic number 7, expected 20240520"));
  EXPECT_THAT(refusal(shard_bytes(20240520, 2, 1, {1})), HasSubstr("version 2, expected 1"));
  EXPECT_THAT(refusal(shard_bytes(20240520, 1, 0, {})), HasSubstr("announces 0 tokens"));
  EXPECT_THAT(refusal(shard_bytes(20240520, 1, -4, {1})), HasSubstr("announces -4 tokens"));
  EXPECT_THAT(refusal(""), HasSubstr("empty"));
  EXPECT_THAT(refusal(std::string(1023, '\0')), HasSubstr("truncated: 1023 bytes"));
}

TEST(Shard, RefusesACountThatIsNotTheFiles) {
  const std::string shorter = refusal(shard_bytes(20240520, 1, 5, {1, 2, 3}));
  EXPECT_THAT(shorter, HasSubstr("truncated: the header announces 5 tokens, which take 1034 bytes, "
                                 "and the file has 1030"));
  EXPECT_THAT(refusal(shard_bytes(20240520, 1, 2, {1, 2, 3})), HasSubstr("too long"));
  EXPECT_THAT(refusal(shard_bytes(20240520, 1, 1, {1}) + "x"), HasSubstr("too long"));
}

TEST(Shard, RefusesAMissingFileAndAFolder) {
  const Scratch scratch;
  EXPECT_THAT(message_of<UserError>([&] { Shard shard(scratch.path("none.bin")); }),
              HasSubstr("No such file"));
  EXPECT_THAT(message_of<UserError>([&] { Shard shard(scratch.path("")); }),
              HasSubstr("not a regular file"));
}

TEST(Shard, NamesTheFirstIdBeyondTheVocabulary) {
  const Scratch scratch;
  const Shard shard(scratch.write("a.bin", shard_bytes(20240520, 1, 4, {1, 99, 100, 101})));
  shard.check_vocabulary(102);
  const std::string message = message_of<UserError>([&] { shard.check_vocabulary(100); });
  EXPECT_THAT(message, HasSubstr(shard.path()));
  EXPECT_THAT(message, HasSubstr("id 100 at token 2 (byte 1028)"));
  EXPECT_THAT(message, HasSubstr("vocab_size is 100"));
}

TEST(FindShards, SortsAndRefusesNoMatch) {
  const Scratch scratch;
  for (const char* name : {"t_0002.bin", "t_0000.bin", "t_0001.bin", "v_0000.bin"}) {
    scratch.write(name, "");
  }
  EXPECT_THAT(find_shards(scratch.path("t_*.bin")),
              testing::ElementsAre(scratch.path("t_0000.bin"), scratch.path("t_0001.bin"),
                                   scratch.path("t_0002.bin")));
  EXPECT_THAT(find_shards(scratch.path("v_0000.bin")), testing::SizeIs(1));
  EXPECT_THAT(message_of<UserError>([&] { find_shards(scratch.path("x_*.bin")); }),
              HasSubstr(scratch.path("x_*.bin")));
}

TEST(ShardWriter, WritesExactlyTheDocumentedLayout) {
  const Scratch scratch;
  ShardWriter writer(scratch.path("t"), 1000);
  writer.append(std::vector<int>{1, 258, 65535});
  writer.finish();
  EXPECT_EQ(scratch.read("t_0000.bin"), shard_bytes(20240520, 1, 3, {1, 258, 65535}));
}

TEST(ShardWriter, RollsOverAndKeepsTheStream) {
  const Scratch scratch;
  std::vector<int> ids(200'000);  // more than the writer's buffer
  std::iota(ids.begin(), ids.end(), 0);
  for (int& id : ids) id %= 65536;
  ShardWriter writer(scratch.path("t"), 80'000);
  writer.append(std::span(ids).first(123'456));
  writer.append(std::span(ids).subspan(123'456));
  writer.finish();
  EXPECT_EQ(writer.num_tokens(), 200'000);
  EXPECT_EQ(writer.num_shards(), 3);
  std::vector<int> read;
  for (const std::string& path : find_shards(scratch.path("t_*.bin"))) {
    const Shard shard(path);
    EXPECT_LE(shard.tokens().size(), 80'000u);
    read.insert(read.end(), shard.tokens().begin(), shard.tokens().end());
  }
  EXPECT_EQ(read, ids);
  EXPECT_THAT(scratch.names(), testing::SizeIs(3));
}

TEST(ShardWriter, AnExactlyFullShardHasNoEmptyFollower) {
  const Scratch scratch;
  ShardWriter writer(scratch.path("t"), 2);
  writer.append(std::vector<int>{1, 2, 3, 4});
  writer.finish();
  EXPECT_THAT(scratch.names(), testing::ElementsAre("t_0000.bin", "t_0001.bin"));
}

TEST(ShardWriter, LeavesNothingWhenItIsNotFinished) {
  const Scratch scratch;
  {
    ShardWriter writer(scratch.path("t"), 1000);
    writer.append(std::vector<int>{1, 2, 3});
    EXPECT_THAT(scratch.names(), testing::SizeIs(1));
  }
  EXPECT_THAT(scratch.names(), testing::IsEmpty());
}

TEST(ShardWriter, SaysThatTheDiskIsFullAndLeavesNothing) {
  const Scratch scratch;
  for (const int count : {10'000, 100'000}) {  // noticed at the end, and on the way
    ShardWriter writer(scratch.path("t"), 1'000'000);
    std::string message;
    {
      const FullDisk full(4096);
      message = message_of<RunError>([&] {
        writer.append(std::vector<int>(count, 7));
        writer.finish();
      });
    }
    EXPECT_THAT(message, HasSubstr(scratch.path("t_0000.bin")));
    EXPECT_THAT(message, HasSubstr("File too large"));
    EXPECT_THAT(scratch.names(), testing::IsEmpty());
  }
}

TEST(ShardWriter, SaysThatTheFolderIsMissing) {
  const Scratch scratch;
  ShardWriter writer(scratch.path("none/t"), 10);
  EXPECT_THAT(message_of<RunError>([&] { writer.append(std::vector<int>{1}); }),
              HasSubstr("none/t_0000.bin: cannot open"));
}

}  // namespace
}  // namespace mapl::data
