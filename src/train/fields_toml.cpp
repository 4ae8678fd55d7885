#include "train/fields_toml.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sstream>

namespace mapl::train {
namespace {

template <typename... Lambdas>
struct Overloaded : Lambdas... {
  using Lambdas::operator()...;
};

struct PeerKey {
  const char* name;
  std::string Recipe::Peer::*member;
};
constexpr PeerKey kPeerKeys[] = {{"endpoint", &Recipe::Peer::endpoint},
                                 {"next_endpoint", &Recipe::Peer::next_endpoint},
                                 {"public_key", &Recipe::Peer::public_key}};

bool assign_peers(std::vector<Recipe::Peer>& target, const toml::array& values) {
  std::vector<Recipe::Peer> peers;
  for (const toml::node& value : values) {
    const toml::table* table = value.as_table();
    if (table == nullptr) return false;
    Recipe::Peer& peer = peers.emplace_back();
    for (const auto& [key, node] : *table) {
      const auto text = node.value_exact<std::string>();
      const auto target =
          std::find_if(std::begin(kPeerKeys), std::end(kPeerKeys),
                       [&key = key](const PeerKey& known) { return key.str() == known.name; });
      if (!text || target == std::end(kPeerKeys)) return false;
      peer.*target->member = *text;
    }
  }
  target = peers;
  return true;
}

}  // namespace

std::string expected_type(const Field& field) {
  return std::visit(
      Overloaded{[](bool*) { return "true or false"; }, [](int64_t*) { return "an integer"; },
                 [](double*) { return "a number"; }, [](std::string*) { return "a string"; },
                 [](std::vector<int64_t>*) { return "a list of integers"; },
                 [](std::vector<Recipe::Peer>*) {
                   return "a list of {endpoint = \"...\", public_key = \"...\"}";
                 }},
      field.target);
}

bool assign(const Field& field, const toml::node& value) {
  const auto take = [](auto* target, const auto& read) {
    if (read) *target = *read;
    return read.has_value();
  };
  return std::visit(
      Overloaded{
          [&](bool* target) { return take(target, value.value_exact<bool>()); },
          [&](int64_t* target) { return take(target, value.value_exact<int64_t>()); },
          [&](double* target) {
            return (value.is_integer() || value.is_floating_point()) &&
                   take(target, value.value<double>());
          },
          [&](std::string* target) { return take(target, value.value_exact<std::string>()); },
          [&](std::vector<int64_t>* target) {
            const toml::array* array = value.as_array();
            if (array == nullptr || !(array->empty() || array->is_homogeneous<int64_t>()))
              return false;
            target->clear();
            for (const toml::node& item : *array) target->push_back(*item.value<int64_t>());
            return true;
          },
          [&](std::vector<Recipe::Peer>* target) {
            return value.is_array() && assign_peers(*target, *value.as_array());
          }},
      field.target);
}

std::string to_toml(const toml::node& value) {
  constexpr auto kOneWayToQuote =
      ~(toml::format_flags::allow_literal_strings | toml::format_flags::allow_multi_line_strings);
  std::ostringstream text;
  text << toml::toml_formatter(value, toml::toml_formatter::default_flags & kOneWayToQuote);
  return text.str();
}

std::string to_toml(const Field& field) {
  return std::visit(
      Overloaded{[](const std::vector<int64_t>* values) {
                   return fmt::format("[{}]", fmt::join(*values, ", "));
                 },
                 [](const std::vector<Recipe::Peer>* peers) {
                   std::vector<std::string> items;
                   for (const Recipe::Peer& peer : *peers) {
                     std::vector<std::string> keys;
                     for (const PeerKey& key : kPeerKeys) {
                       const std::string& text = peer.*key.member;
                       if (text.empty()) continue;
                       keys.push_back(fmt::format("{} = {}", key.name,
                                                  to_toml(toml::value<std::string>(text))));
                     }
                     items.push_back(fmt::format("{{{}}}", fmt::join(keys, ", ")));
                   }
                   return fmt::format("[{}]", fmt::join(items, ", "));
                 },
                 [](const double* value) {
                   // The shortest text that reads back to the same bits, as TOML wants a float.
                   const std::string text = fmt::format("{}", *value);
                   return text.find_first_of(".ein") == std::string::npos ? text + ".0" : text;
                 },
                 [](const auto* value) {
                   return to_toml(toml::value<std::decay_t<decltype(*value)>>(*value));
                 }},
      field.target);
}

}  // namespace mapl::train
