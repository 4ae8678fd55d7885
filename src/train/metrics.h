// What a run leaves behind about itself: metrics.jsonl, a flat object for each logged step, and
// summary.json at the end (docs/run_folder.md lists the keys). Stage 0 writes both.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "math/parameter.h"
#include "pipeline/step.h"
#include "train/recipe.h"

namespace mapl::train {

class Metrics {
 public:
  // Goes on with <folder>/metrics.jsonl; go_back() must follow.
  //   ERRORS  UserError when the folder cannot be written.
  Metrics(const Recipe& recipe, const std::string& folder);

  // Forgets what came after `steps` finished steps, in the file too.
  //   state  state() of then; that of the start is empty
  void go_back(int64_t steps, const math::NamedTensors& state);
  math::NamedTensors state() const;

  // Adds a line to <folder>/events.jsonl: all stages are there and go on from this step, after a
  // failure if there was one.
  void log_join(int64_t step, const std::string& why);

  struct StepInfo {
    int64_t step = 0;    // finished steps, from 1
    double seconds = 0;  // of this step
    double lr_factor = 0;
    std::optional<double> validation_loss;
  };
  // The commit and the bases of step n leave after its vote: their bytes stand in the line of step
  // n + 1, or in that of step n when it validated, so that the summary has all.
  void log(const StepInfo& info, const pipeline::Step::Outcome& outcome);

  struct Totals {
    int64_t steps = 0;
    double seconds = 0;
    pipeline::Traffic traffic;            // over all boundaries
    double orthogonality_error = 0;       // largest seen
    std::vector<int64_t> peak_rss_bytes;  // per stage
    int64_t num_parameters = 0;           // of all stages
    int64_t recoveries = 0;               // times that it went on after a failure or a new start
  };
  const Totals& totals() const { return totals_; }
  double bytes_per_token() const;  // per boundary, both legs, everything counted
  double tokens_per_second() const;

  // Atomically writes <folder>/summary.json.
  void write_summary(double validation_loss) const;

 private:
  void open();
  int64_t tokens() const;
  double ratio(int64_t bytes, int legs) const;

  const Recipe& recipe_;
  std::string folder_;
  std::ofstream file_;
  Totals totals_;
};

// "AMD EPYC, 2 cores, 23 GiB".
std::string machine_name();

}  // namespace mapl::train
