// A page of small images with titles, as a PNG file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel::app {

/// A gray image, row by row, and what to write above it.
struct Tile {
  std::string title;
  std::vector<std::uint8_t> pixels;
};

/// The bytes of a PNG of the tiles, five a row, enlarged, below `heading`. Each image is `width` pixels wide.
/// Text is ASCII.
std::string tiles_png(const std::string& heading, const std::vector<Tile>& tiles, int width);

/// The bytes of a PNG of gray images, `columns` a row, side by side, each width x width pixels.
std::string sheet_png(const std::vector<std::vector<std::uint8_t>>& images, int columns, int width);

}  // namespace evenkeel::app
