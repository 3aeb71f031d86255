// Charts as PNG.
#pragma once

#include <filesystem>
#include <string>

namespace evenkeel::app {

/// The bytes of the PNG that rsvg-convert makes of an SVG file. It is given no name, which it could take for
/// an option or a URI. Throws Error, saying why, if there is no rsvg-convert or it makes none.
std::string png_of(const std::filesystem::path& svg);

}  // namespace evenkeel::app
