// Where a link meets its peer, as ZeroMQ spells it: ipc:///path or tcp://host:port.
#pragma once

#include <string>

namespace mapl::link {

// Refuses what cannot or must not be used.
//   ERRORS  UserError: neither ipc nor tcp; no port; tcp that other machines can reach and no key.
void check_endpoint(const std::string& endpoint, bool has_keys);

// tcp whose host is not 127.x.x.x, ::1 or localhost. A name counts as far away.
bool is_beyond_loopback(const std::string& endpoint);

// Somebody answers at the path of an ipc endpoint.
// WHY: libzmq would take the path away from whoever listens there.
bool is_ipc_in_use(const std::string& endpoint);

}  // namespace mapl::link
