#include "evenkeel/core/json.h"

#include <set>
#include <vector>

#include "evenkeel/core/files.h"

namespace evenkeel {

using Json = nlohmann::json;

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMost = 100;
  return Json(text.substr(0, kMost)).dump(-1, ' ', true, Json::error_handler_t::replace) +
         (text.size() > kMost ? "..." : "");
}

Json parse_json(std::string_view text, std::string_view subject, int most_depth) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= most_depth)
      fail<Malformed>("{} nested deeper than {}", subject, most_depth);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second)
      fail<Malformed>("{} ambiguous: it has the key {} twice", subject, in_quotes(parsed.get<std::string>()));
    return true;
  };
  // nlohmann::json takes a NUL for the end and would not look at what follows.
  if (text.find('\0') != std::string_view::npos) fail<Malformed>("{} not JSON: it has a NUL", subject);
  try {
    return Json::parse(text, check);
  } catch (const Json::exception&) {
    fail<Malformed>("{} not JSON", subject);
  }
}

const Json& member(const Json& object, const char* key) {
  if (!object.is_object()) fail<Malformed>("has no object where {} should be", key);
  const auto found = object.find(key);
  if (found == object.end()) fail<Malformed>("has no {}", key);
  return *found;
}

std::string text_at(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_string()) fail<Malformed>("has no text as {}", key);
  return value.get<std::string>();
}

double number_at(const Json& object, const char* key, double least, double most) {
  const Json& value = member(object, key);
  if (!value.is_number()) fail<Malformed>("has no number as {}", key);
  const auto number = value.get<double>();
  if (!(least <= number && number <= most))
    fail<Malformed>("has {} {}, not one from {} to {}", key, number, least, most);
  return number;
}

std::int64_t integer_at(const Json& object, const char* key, std::int64_t least, std::int64_t most) {
  const Json& value = member(object, key);
  if (!value.is_number_integer()) fail<Malformed>("has no integer as {}", key);
  const bool huge =
      value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  const auto number = huge ? INT64_MAX : value.get<std::int64_t>();
  if (huge || number < least || number > most)
    fail<Malformed>("has {} {}, not one from {} to {}", key, value.dump(), least, most);
  return number;
}

std::uint64_t unsigned_at(const Json& object, const char* key) {
  const Json& value = member(object, key);
  if (!value.is_number_unsigned()) fail<Malformed>("has no integer of at least 0 as {}", key);
  return value.get<std::uint64_t>();
}

}  // namespace evenkeel
