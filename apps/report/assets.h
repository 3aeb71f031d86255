// What is built into a page: style.css and script.js, as CMake found them.
#pragma once

#include <string_view>

namespace evenkeel::app {

extern const std::string_view kStyle, kScript;

}  // namespace evenkeel::app
