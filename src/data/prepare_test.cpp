#include "data/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/status.h"
#include "data/scratch.h"
#include "data/shards.h"
#include "data/tokenizer.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;

class PrepareTest : public testing::Test {
 protected:
  PrepareTest() {
    std::mt19937 random(4);
    const char* words[] = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "été", "theta"};
    std::string text;
    for (int d = 0; d < 2000; ++d) {
      std::string document = fmt::format("entry {}", d);
      for (uint32_t w = 0; w < random() % 30; ++w)
        document += std::string(" ") + words[random() % 8];
      documents_.push_back(document);
      text += document + "\n\n";
    }
    options_.text = {scratch_.write("text.txt", text)};
    options_.vocab_size = 320;
    options_.out = scratch_.path("out");
    options_.validation_fraction = 0.2;
  }

  Prepared run() {
    Progress silent(null_.get(), false);
    return prepare(options_, silent);
  }

  // The documents of a side, in order, told apart by BOS.
  std::vector<std::string> read(const std::string& side) const {
    const Tokenizer tokenizer = Tokenizer::load(options_.out + "/tokenizer.model");
    std::vector<std::vector<int>> documents;
    for (const std::string& path : find_shards(options_.out + "/" + side + "_*.bin")) {
      const Shard shard(path);
      for (const uint16_t id : shard.tokens()) {
        if (id == tokenizer.bos()) documents.emplace_back();
        if (id != tokenizer.bos()) documents.back().push_back(id);
      }
    }
    std::vector<std::string> texts;
    for (const auto& ids : documents) texts.push_back(tokenizer.decode(ids));
    return texts;
  }

  std::string refusal() {
    const auto before = scratch_.names();
    const std::string message = message_of<UserError>([this] { run(); });
    EXPECT_EQ(scratch_.names(), before);
    return message;
  }

  Scratch scratch_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> null_{std::fopen("/dev/null", "w"), std::fclose};
  PrepareOptions options_;
  std::vector<std::string> documents_;
};

TEST_F(PrepareTest, EveryDocumentComesBackOnOneSide) {
  const Prepared result = run();
  EXPECT_EQ(result.num_documents, 2000);
  EXPECT_EQ(result.vocab_size, 320);
  const std::vector<std::string> validation = read("val");
  std::vector<std::string> both = read("train");
  // Five standard deviations of a binomial distribution.
  EXPECT_NEAR(validation.size(), 400, 5 * std::sqrt(2000 * 0.2 * 0.8));
  both.insert(both.end(), validation.begin(), validation.end());
  std::sort(both.begin(), both.end());
  std::sort(documents_.begin(), documents_.end());
  EXPECT_EQ(both, documents_);
}

TEST_F(PrepareTest, TheSameSeedGivesTheSameBytesAndAnotherAnotherSplit) {
  run();
  const std::string train = scratch_.read("out/train_0000.bin");
  const std::string model = scratch_.read("out/tokenizer.model");
  const std::vector<std::string> validation = read("val");
  options_.out = scratch_.path("again");
  run();
  EXPECT_TRUE(scratch_.read("again/train_0000.bin") == train);
  EXPECT_TRUE(scratch_.read("again/tokenizer.model") == model);
  options_.out = scratch_.path("other");
  options_.seed = 1;
  run();
  EXPECT_NE(read("val"), validation);
}

TEST_F(PrepareTest, EqualDocumentsStandOnOneSide) {
  options_.text.push_back(options_.text[0]);
  const Prepared result = run();
  EXPECT_EQ(result.num_documents, 4000);
  std::vector<std::string> train = read("train");
  std::vector<std::string> validation = read("val");
  std::sort(train.begin(), train.end());
  std::sort(validation.begin(), validation.end());
  std::vector<std::string> common;
  std::set_intersection(train.begin(), train.end(), validation.begin(), validation.end(),
                        std::back_inserter(common));
  EXPECT_THAT(common, testing::IsEmpty());
}

TEST_F(PrepareTest, TakesAGivenTokenizerAndRollsShardsOver) {
  run();
  options_.model = scratch_.path("out/tokenizer.model");
  options_.vocab_size.reset();
  options_.out = scratch_.path("given");
  options_.shard_tokens = 5000;
  const Prepared result = run();
  EXPECT_EQ(scratch_.read("given/tokenizer.model"), scratch_.read("out/tokenizer.model"));
  EXPECT_EQ(result.train_shards, (result.train_tokens + 4999) / 5000);
  EXPECT_GT(result.train_shards, 2);
  EXPECT_EQ(read("train").size() + read("val").size(), 2000u);
}

TEST_F(PrepareTest, TrainsOnASampleOfLargeText) {
  options_.sample_bytes = 20'000;
  run();
  const std::string sampled = scratch_.read("out/tokenizer.model");
  options_.sample_bytes = 1'000'000;
  options_.out = scratch_.path("whole");
  run();
  EXPECT_FALSE(scratch_.read("whole/tokenizer.model") == sampled);
}

TEST_F(PrepareTest, WithoutValidationThereIsNoValidationShard) {
  options_.validation_fraction = 0;
  run();
  EXPECT_FALSE(std::filesystem::exists(scratch_.path("out/val_0000.bin")));
}

TEST_F(PrepareTest, RefusesMistakesAndLeavesNothing) {
  const PrepareOptions good = options_;
  options_.validation_fraction = 1;
  EXPECT_THAT(refusal(), HasSubstr("--validation-fraction 1"));
  options_ = good;
  options_.shard_tokens = 0;
  EXPECT_THAT(refusal(), HasSubstr("--shard-tokens 0"));
  options_ = good;
  options_.vocab_size = 65537;
  EXPECT_THAT(refusal(), HasSubstr("uint16"));
  options_.vocab_size = 60'000;
  EXPECT_THAT(refusal(), HasSubstr("60000 pieces"));
  options_ = good;
  options_.text = {scratch_.path("none.txt")};
  EXPECT_THAT(refusal(), HasSubstr("none.txt"));
  options_ = good;
  options_.documents.separator = Separator::kFile;
  EXPECT_THAT(refusal(), HasSubstr("none of 1 documents fell to"));
  options_ = good;
  options_.text = {scratch_.write("empty.txt", "\n \n")};
  EXPECT_THAT(refusal(), HasSubstr("no text"));
}

TEST_F(PrepareTest, RefusesOrReplacesWhatIsNotUtf8) {
  options_.text.push_back(scratch_.write("latin1.txt",
                                         "fa\xE7"
                                         "ade\n"));
  EXPECT_THAT(refusal(), HasSubstr("latin1.txt: not UTF-8 at byte 2 (0xE7)"));
  options_.documents.invalid_utf8 = InvalidUtf8::kReplace;
  EXPECT_EQ(run().num_replaced, 1);
}

TEST_F(PrepareTest, LeavesNothingOnAFullDisk) {
  const auto before = scratch_.names();
  std::string message;
  {
    const FullDisk full(20'000);
    message = message_of<RunError>([this] { run(); });
  }
  EXPECT_THAT(message, HasSubstr("train_0000.bin: cannot write"));
  EXPECT_EQ(scratch_.names(), before);
}

}  // namespace
}  // namespace mapl::data
