#include <gtest/gtest.h>
#include <torch/torch.h>

#include "codec/anchor.h"

namespace mapl::codec {
namespace {

AnchorOptions options(int ngram, const std::string& kind = "none") {
  torch::manual_seed(4);
  return {.name = "a",
          .kind = kind,
          .rank = 6,
          .seed = 1,
          .embedding_VD = 0.5 * torch::randn({50, 24}),
          .ngram = ngram,
          .ngram_entries = 1000,
          .ngram_rank = 5,
          .sequence_length = 4};
}

const at::Tensor kIds = torch::tensor({7, 8, 7, 8, 8, 7, 8, 9}, torch::kLong);

TEST(NgramRows, AreOfTheTokensThatEndAtAPlaceWithinItsWindow) {
  const auto rows = [](int n) {
    const at::Tensor found = ngram_rows(kIds, n, 4, 1000);
    return std::vector<int64_t>(found.data_ptr<int64_t>(), found.data_ptr<int64_t>() + 8);
  };
  const auto two = rows(2);
  EXPECT_EQ(two[1], two[3]);  // 7 8
  EXPECT_EQ(two[1], two[6]);
  EXPECT_NE(two[1], two[2]);  // 8 7: the order counts
  EXPECT_EQ(two[2], two[5]);
  EXPECT_NE(two[4], two[1]);  // an 8 at the start of a window, whatever stands before it
  const auto three = rows(3);
  EXPECT_NE(three[3], three[1]);  // 8 7 8 and (start) 7 8
  EXPECT_EQ(three[3], three[6]);
  EXPECT_NE(two[1], three[1]);
}

TEST(NgramRows, SpreadOverTheTable) {
  const at::Tensor rows = ngram_rows(torch::arange(4000), 2, 4000, 1000);
  EXPECT_GE(rows.min().item<int64_t>(), 0);
  EXPECT_LT(rows.max().item<int64_t>(), 1000);
  // Of 4000 balls in 1000 bins 18 bins stay empty, give or take 4.
  EXPECT_GT(std::get<0>(at::_unique(rows)).size(0), 955);
}

TEST(Ngrams, NoneWithoutNgramsIsStillNull) {
  EXPECT_EQ(make_anchor(options(0)), nullptr);
  EXPECT_EQ(make_anchor(options(1)), nullptr);
}

TEST(Ngrams, StartAsWhatTheyAreAddedTo) {
  const auto plain = make_anchor(options(0, "factorized"));
  const auto with = make_anchor(options(3, "factorized"));
  EXPECT_TRUE(torch::equal(plain->lookup(kIds), with->lookup(kIds)));
  EXPECT_EQ(make_anchor(options(3))->lookup(kIds).abs().max().item<float>(), 0);
  std::vector<std::string> names;
  for (const auto& parameter : with->parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a.table", "a.ngram_2.table", "a.ngram_3.table"}));
}

TEST(Ngrams, AreTheSumOfTheTablesRowsProjected) {
  const auto anchor = make_anchor(options(3, "factorized"));
  at::Tensor expected = make_anchor(options(0, "factorized"))->lookup(kIds).detach();
  const auto state = anchor->state();
  at::NoGradGuard no_grad;
  for (int n : {2, 3}) {
    for (const auto& [name, table] : state) {
      if (name != "a.ngram_" + std::to_string(n) + ".table") continue;
      table.copy_(torch::randn_like(table));
    }
  }
  // The rows that a lookup reads are those whose gradient it touches.
  for (const auto& parameter : anchor->parameters()) {
    if (parameter.name == "a.table") continue;
    at::Tensor projection;
    for (const auto& [name, tensor] : state) {
      if (name == parameter.name.substr(0, parameter.name.size() - 5) + "projection") {
        projection = tensor;
      }
    }
    const int n = parameter.name[8] - '0';
    at::Tensor saved = parameter.value.detach().clone();
    parameter.value.zero_();
    const at::Tensor without = anchor->lookup(kIds);
    parameter.value.copy_(saved);
    const at::Tensor part = anchor->lookup(kIds) - without;
    // Each place holds one row of the table, projected.
    const at::Tensor nearest = torch::cdist(part, saved.mm(projection)).argmin(1);
    EXPECT_LT((part - saved.mm(projection).index_select(0, nearest)).abs().max().item<double>(),
              1e-5);
    const at::Tensor classes = ngram_rows(kIds, n, 4, 1000);
    for (int64_t a = 0; a < 8; ++a) {
      for (int64_t b = 0; b < 8; ++b) {
        EXPECT_EQ((nearest[a] == nearest[b]).item<bool>(), (classes[a] == classes[b]).item<bool>());
      }
    }
    expected += part;
  }
  EXPECT_TRUE(torch::allclose(anchor->lookup(kIds), expected, 0, 1e-5));
}

TEST(Ngrams, AStepTouchesTheRowsThatItReads) {
  const auto anchor = make_anchor(options(2));
  anchor->lookup(kIds).sum().backward();
  const auto table = anchor->parameters()[0];
  EXPECT_EQ(table.rule, math::Rule::kSparseAdamW);
  const at::Tensor touched = table.value.grad().abs().sum(1).nonzero().view(-1);
  EXPECT_EQ(static_cast<int64_t>(table.touched->rows().size()), touched.size(0));
  EXPECT_EQ(touched.size(0), 5);  // (start) 7, 7 8, 8 7, (start) 8, 8 9
}

}  // namespace
}  // namespace mapl::codec
