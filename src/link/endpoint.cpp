#include "link/endpoint.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/status.h"

namespace mapl::link {
namespace {

constexpr std::string_view kIpc = "ipc://";
constexpr std::string_view kTcp = "tcp://";

std::string_view host_of(std::string_view endpoint) {
  endpoint.remove_prefix(kTcp.size());
  return endpoint.substr(0, endpoint.rfind(':'));
}

bool is_dotted_loopback(std::string_view host) {
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos;
}

}  // namespace

bool is_beyond_loopback(const std::string& endpoint) {
  if (!endpoint.starts_with(kTcp)) return false;
  const std::string_view host = host_of(endpoint);
  return !is_dotted_loopback(host) && host != "localhost" && host != "[::1]" && host != "::1";
}

void check_endpoint(const std::string& endpoint, bool has_keys) {
  const bool is_ipc = endpoint.starts_with(kIpc) && endpoint.size() > kIpc.size();
  const bool is_tcp = endpoint.starts_with(kTcp) && !host_of(endpoint).empty() &&
                      endpoint.find(':', kTcp.size()) != endpoint.npos && !endpoint.ends_with(':');
  if (!is_ipc && !is_tcp) {
    throw UserError(
        fmt::format("the link endpoint '{}' is neither ipc:///path nor tcp://host:port", endpoint));
  }
  if (is_beyond_loopback(endpoint) && !has_keys) {
    throw UserError(fmt::format(
        "the link endpoint {} can be reached from other machines and has no keys: make a pair for "
        "each stage with `mapl keygen` and put the public keys into the recipe, or use 127.0.0.1",
        endpoint));
  }
}

bool is_ipc_in_use(const std::string& endpoint) {
  if (!endpoint.starts_with(kIpc)) return false;
  const std::string path = endpoint.substr(kIpc.size());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return false;
  std::copy(path.begin(), path.end(), address.sun_path);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool answers =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return answers;
}

}  // namespace mapl::link
