// What pages are made of: page.html, style.css and script.js, as CMake found them.
#pragma once

#include <string_view>

namespace evenkeel::app {

extern const std::string_view kPage, kStyle, kScript;

}  // namespace evenkeel::app
