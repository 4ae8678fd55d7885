// Key pairs for CURVE (Curve25519), in ZeroMQ's Z85 spelling: 40 characters each.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::link {

constexpr size_t kKeyCharacters = 40;

struct CurveIdentity {
  std::string public_key;  // goes into everybody's recipe
  std::string secret_key;  // never leaves its machine
};

CurveIdentity generate_identity();

// The public key that belongs to a secret one.
//   ERRORS  UserError when `secret_key` is not 40 characters of Z85.
std::string public_key_of(const std::string& secret_key);

bool is_key(const std::string& text);  // 40 characters of Z85
std::string to_z85(ByteSpan bytes);    // REQUIRES: the size is a multiple of 4

// Writes the secret key and a newline, for the owner's eyes alone (mode 0600): the file is there
// whole or not at all, and one that exists stays as it is.
//   ERRORS  UserError when `path` exists; kIo with the path and the system's reason otherwise.
Status write_secret_key(const std::string& path, const CurveIdentity& identity);

// Reads such a file.
//   ERRORS  UserError: missing, readable by others than its owner, or not a key; says what to do.
CurveIdentity read_secret_key(const std::string& path);

}  // namespace mapl::link
