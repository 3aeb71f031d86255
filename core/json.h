// JSON of files that may hold anything: parsed strictly, members read with their type and range. Everything
// here throws Malformed, a part of a sentence, for reading() in core/files.h to complete.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace evenkeel {

/// Text in quotes, on one line, in ASCII, cut after 100 bytes: for messages, whatever the bytes are.
std::string in_quotes(std::string_view text);

/// Parses a document. Refuses what nlohmann::json would let pass: a key that an object has twice, a NUL with
/// what follows it, and nesting deeper than `most_depth`, at which its recursive functions would run out of
/// stack. `subject` begins the message: "is", or "has a header that is".
nlohmann::json parse_json(std::string_view text, std::string_view subject = "is", int most_depth = 16);

/// A member of an object that must be there. A number is finite; an integer is written as one.
const nlohmann::json& member(const nlohmann::json& object, const char* key);
std::string text_at(const nlohmann::json& object, const char* key);
double number_at(const nlohmann::json& object, const char* key,
                 double least = std::numeric_limits<double>::lowest(),
                 double most = std::numeric_limits<double>::max());
std::int64_t integer_at(const nlohmann::json& object, const char* key, std::int64_t least, std::int64_t most);
std::uint64_t unsigned_at(const nlohmann::json& object, const char* key);

}  // namespace evenkeel
