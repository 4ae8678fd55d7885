#include <fmt/format.h>

#include "base/status.h"
#include "cli/commands.h"
#include "link/curve_keys.h"

namespace mapl::cli {

Command add_keygen(CLI::App& parser) {
  auto path = std::make_shared<std::string>();
  CLI::App* app = parser.add_subcommand(
      "keygen", "Make a key pair: the secret into a file, the public key for everybody's recipe");
  app->add_option("file", *path, "Where the secret key goes (mode 0600), new")->required();
  return {app, [path](std::stop_token) {
            const auto identity = link::generate_identity();
            const Status status = link::write_secret_key(*path, identity);
            if (!status.is_ok()) throw UserError(status.message());
            fmt::print("public_key = \"{}\"\n", identity.public_key);
            return 0;
          }};
}

}  // namespace mapl::cli
