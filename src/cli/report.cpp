#include <fmt/format.h>

#include <fstream>

#include "base/status.h"
#include "cli/commands.h"
#include "report/page.h"

namespace mapl::cli {
namespace {

struct Options {
  std::vector<std::string> runs;
  std::string out = "report.html";
};

int report(const Options& options) {
  const std::string html = report::page(options.runs);
  std::ofstream file(options.out, std::ios::binary);
  file << html << std::flush;
  if (!file) throw UserError("cannot write " + options.out + "; choose another --out");
  fmt::print("{}\n", options.out);
  return 0;
}

}  // namespace

Command add_report(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parser.add_subcommand("report", "One HTML page about one or more runs");
  app->add_option("run", options->runs, "Run folders")->required();
  app->add_option("--out", options->out, "The page")->capture_default_str();
  return {app, [options](std::stop_token) { return report(*options); }, /*heeds_stop=*/false};
}

}  // namespace mapl::cli
