#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/status.h"
#include "model/stage.h"
#include "train/fields.h"
#include "train/recipe.h"

namespace mapl::train {
namespace {

template <typename... Args>
void require(bool condition, fmt::format_string<Args...> message, Args&&... args) {
  if (!condition) throw UserError(fmt::format(message, std::forward<Args>(args)...));
}

template <typename Number>
void check_number(const Field& field, Number value) {
  // Written so that NaN fails.
  require(value >= field.rules.least, "{} = {} must be at least {}", field.name(), value,
          field.rules.least);
  require(value <= field.rules.most && std::isfinite(static_cast<double>(value)),
          "{} = {} must be at most {}", field.name(), value, field.rules.most);
}

void check_rules(const Field& field) {
  if (const auto* number = std::get_if<int64_t*>(&field.target)) check_number(field, **number);
  if (const auto* number = std::get_if<double*>(&field.target)) check_number(field, **number);
  if (const auto* numbers = std::get_if<std::vector<int64_t>*>(&field.target))
    for (const int64_t number : **numbers) check_number(field, number);
  const auto& choices = field.rules.choices;
  if (const auto* text = std::get_if<std::string*>(&field.target); text && !choices.empty())
    require(std::count(choices.begin(), choices.end(), **text) == 1,
            "{} = \"{}\" is unknown: use one of {}", field.name(), **text,
            fmt::join(choices, ", "));
}

void check_link(const Recipe& recipe) {
  const auto& stages = recipe.link.stages;
  if (stages.empty()) return;
  require(recipe.link.kind != "inproc",
          "link.kind = \"inproc\" runs on this machine alone: remove link.stages, or use \"zmq\"");
  require(recipe.link.kind != "c10d",
          "link.kind = \"c10d\" has its addresses from the launcher: remove link.stages, or use "
          "\"zmq\"");
  require(static_cast<int64_t>(stages.size()) == recipe.pipeline.stages,
          "link.stages lists {} stages, pipeline.stages = {}: give one endpoint for each stage",
          stages.size(), recipe.pipeline.stages);
  constexpr size_t kKeyLength = 40;  // 32 bytes in Z85
  for (size_t i = 0; i < stages.size(); ++i) {
    for (const std::string& endpoint : {stages[i].endpoint, stages[i].next_endpoint}) {
      require(endpoint.empty() || endpoint.find("://") != std::string::npos,
              "link.stages[{}].endpoint = \"{}\" must be an address, such as \"tcp://host:5555\"",
              i, endpoint);
    }
    require(i == 0 || !stages[i].endpoint.empty() || !stages[i - 1].next_endpoint.empty(),
            "neither end of the boundary between stages {} and {} listens: give "
            "link.stages[{}].endpoint, where stage {} listens for stage {}, or, if other machines "
            "cannot reach it, link.stages[{}].next_endpoint, where stage {} listens for stage {}",
            i - 1, i, i, i, i - 1, i - 1, i - 1, i);
    require(stages[i].public_key.empty() || stages[i].public_key.size() == kKeyLength,
            "link.stages[{}].public_key has {} characters, a key has {}: paste what `mapl keygen` "
            "printed as public",
            i, stages[i].public_key.size(), kKeyLength);
  }
}

}  // namespace

void validate(const Recipe& recipe) {
  Recipe copy = recipe;
  for (const Field& field : fields(copy)) check_rules(field);
  model::validate(recipe.model);
  model::cut(recipe.model, recipe.pipeline.stages, recipe.pipeline.layers_per_stage);
  codec::validate(recipe.boundary, recipe.model.hidden_size);

  const auto& training = recipe.training;
  require(training.global_batch_size % training.microbatch_size == 0,
          "training.microbatch_size = {} must divide training.global_batch_size = {}",
          training.microbatch_size, training.global_batch_size);
  require(recipe.validation.num_sequences % training.microbatch_size == 0,
          "validation.num_sequences = {} must be a multiple of training.microbatch_size = {}",
          recipe.validation.num_sequences, training.microbatch_size);
  require(recipe.checkpoint.keep_latest_k != 1,
          "checkpoint.keep_latest_k = 1 could leave no complete checkpoint while the stages write "
          "the next: use 2 or more, or 0 to keep all");
  require(!recipe.checkpoint.folder.empty(),
          "checkpoint.folder is empty: name a folder inside the Run folder, or an absolute one");
  require(recipe.checkpoint.mirror_interval == 0 || recipe.pipeline.stages > 1,
          "checkpoint.mirror_interval = {} keeps a stage's state in its neighbour's memory, and "
          "pipeline.stages = 1 has no neighbour: set it to 0 and use checkpoint.interval",
          recipe.checkpoint.mirror_interval);
  require(recipe.checkpoint.mirror_interval == 0 || recipe.link.kind != "c10d",
          "checkpoint.mirror_interval = {} has no use over link.kind = \"c10d\", where the end of "
          "one process ends all: set it to 0 and use checkpoint.interval",
          recipe.checkpoint.mirror_interval);
  require(recipe.boundary.projector != "subspace" || !recipe.model.tie_word_embeddings,
          "boundary.projector = \"subspace\" holds the embedding in a subspace, and "
          "model.tie_word_embeddings makes it the head too: set that to false");
  check_link(recipe);
}

}  // namespace mapl::train
