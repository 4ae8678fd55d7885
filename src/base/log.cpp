#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/status.h"

namespace mapl {
namespace {

class JsonLines final : public spdlog::formatter {
 public:
  explicit JsonLines(std::optional<int> stage) : stage_(stage) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::chrono::duration<double> time = message.time.time_since_epoch();
    const auto level = spdlog::level::to_string_view(message.level);
    nlohmann::ordered_json line = {{"_timestamp", time.count()},
                                   {"level", std::string(level.data(), level.size())}};
    if (stage_) line["stage"] = *stage_;
    line["what"] = std::string(message.payload.data(), message.payload.size());
    // What a peer has said need not be UTF-8.
    const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.append(text.data(), text.data() + text.size());
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonLines>(stage_);
  }

 private:
  std::optional<int> stage_;
};

}  // namespace

void log_to_terminal() {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  sink->set_level(spdlog::level::warn);
  sink->set_pattern("mapl: %^%l%$: %v");
  auto logger = std::make_shared<spdlog::logger>("mapl", sink);
  logger->set_level(spdlog::level::info);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
}

void log_to_file(const std::string& path, std::optional<int> stage) try {
  auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, /*truncate=*/false);
  sink->set_formatter(std::make_unique<JsonLines>(stage));
  spdlog::default_logger()->sinks().push_back(sink);
} catch (const spdlog::spdlog_ex& error) {
  throw UserError("cannot write the log file " + path + ": " + error.what() +
                  "; choose another --run folder");
}

}  // namespace mapl
