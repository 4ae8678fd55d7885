// The values of the keys as TOML.
#pragma once

#include <toml++/toml.h>

#include <string>

#include "train/fields.h"

namespace mapl::train {

// "an integer", "a list of integers", ...
std::string expected_type(const Field& field);

// Takes the value; false when it has another type (an integer is taken for a number).
bool assign(const Field& field, const toml::node& value);

// A value on one line.
std::string to_toml(const toml::node& value);

// The value of a key on one line; assign() of it gives the same value.
std::string to_toml(const Field& field);

}  // namespace mapl::train
