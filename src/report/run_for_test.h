// A Run folder as a run leaves it, with numbers that can be worked out by hand.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace mapl::report {

class RunForTest {
 public:
  // Losses of its steps, a second each; two boundaries, 100 tokens a step. A line for every
  // `log_freq`-th step. `link` is a kind.
  RunForTest(const std::vector<double>& losses, double validation_loss, size_t log_freq = 1,
             const std::string& link = "zmq") {
    std::string pattern = (std::filesystem::temp_directory_path() / "mapl-test-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream metrics(folder_ + "/metrics.jsonl");
    for (size_t i = 0; i < losses.size(); ++i) {
      if ((i + 1) % log_freq != 0) continue;
      nlohmann::json line = traffic(1);
      line["total_step_seconds"] = i + 1;
      line["total_bytes"] = 2300 * (i + 1);
      line["step"] = i + 1;
      line["tokens"] = 100 * (i + 1);
      line["loss"] = losses[i];
      line["step_seconds"] = 1.0;
      line["energy_kept_0"] = 0.5;
      line["energy_kept_1"] = 0.7;
      line["basis_angle_1"] = 55.0;
      if (i > 0) line.update({{"activation_usage_0", 0.8}, {"activation_error_0", 0.1}});
      for (const char* stage : {"0", "1", "2"}) {
        line[std::string("compute_seconds_stage_") + stage] = 0.5;
        line[std::string("sending_seconds_stage_") + stage] = 0.125;
        line[std::string("waiting_seconds_stage_") + stage] = 0.25;
      }
      metrics << line.dump() << "\n";
    }
    nlohmann::json summary = traffic(static_cast<int>(losses.size()));
    summary["validation_loss"] = validation_loss;
    summary["tokens"] = 100 * losses.size();
    summary["compression_ratio"] = 4.0;
    summary["orthogonality_error_max"] = 2e-7;
    summary["parameters"] = 1500000;
    summary["peak_rss_bytes"] = {1000000, 2000000, 3000000};
    std::ofstream(folder_ + "/summary.json") << summary.dump();
    std::ofstream(folder_ + "/recipe.toml")
        << "[training]\nsteps = " << losses.size() << "\n\n[boundary]\nmethod = \"mapl\"\n"
        << "\n[link]\nkind = \"" << link << "\"\n";
  }
  ~RunForTest() { std::filesystem::remove_all(folder_); }
  RunForTest(const RunForTest&) = delete;

  const std::string& folder() const { return folder_; }

 private:
  // Of two boundaries: 6 + 1 bytes a token out, 4 back, 0.5 to keep in step.
  static nlohmann::json traffic(int steps) {
    return {{"activation_bytes", 1200 * steps},
            {"token_id_bytes", 200 * steps},
            {"gradient_bytes", 800 * steps},
            {"sync_bytes", 60 * steps},
            {"header_bytes", 40 * steps}};
  }
  std::string folder_;
};

}  // namespace mapl::report
