#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "base/status.h"

namespace mapl {

void log_to_terminal() {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  sink->set_level(spdlog::level::warn);
  sink->set_pattern("mapl: %^%l%$: %v");
  auto logger = std::make_shared<spdlog::logger>("mapl", sink);
  logger->set_level(spdlog::level::info);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
}

void log_to_file(const std::string& path) try {
  auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, /*truncate=*/false);
  sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::default_logger()->sinks().push_back(sink);
} catch (const spdlog::spdlog_ex& error) {
  throw UserError("cannot write the log file " + path + ": " + error.what() +
                  "; choose another --run folder");
}

}  // namespace mapl
