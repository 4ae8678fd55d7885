#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/status.h"
#include "cli/commands.h"

namespace mapl::cli {

// WHY another executable: libsentencepiece and libtorch cannot live in one process (each brings
// protobuf's symbols; loading both crashes before main).
Command add_data(CLI::App& parser) {
  CLI::App* app = parser.add_subcommand(
      "data", "Text files to a tokenizer and token shards (see mapl data --help)");
  app->prefix_command();
  app->set_help_flag();
  return {app, [app](std::stop_token) -> int {
            const std::string program = sibling_path("mapl-tokenizer");
            std::vector<std::string> words = {program, "data"};
            for (const std::string& word : app->remaining()) words.push_back(word);
            std::vector<char*> arguments;
            for (std::string& word : words) arguments.push_back(word.data());
            arguments.push_back(nullptr);
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, nullptr);
            execv(program.c_str(), arguments.data());
            throw UserError("cannot start " + program + ": " + std::strerror(errno) +
                            "; it is built beside mapl");
          }};
}

}  // namespace mapl::cli
