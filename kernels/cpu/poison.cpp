#include "evenkeel/kernels/poison.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace evenkeel {
namespace {

int poison_of_environment() {
  const char* text = std::getenv("EVENKEEL_POISON");
  if (text == nullptr) return -1;
  const std::string_view digits = text;
  int byte = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte);
  const bool is_byte = error == std::errc() && end == digits.data() + digits.size() && byte <= 255;
  return is_byte ? byte : -1;
}

}  // namespace

int memory_poison_byte = poison_of_environment();

}  // namespace evenkeel
