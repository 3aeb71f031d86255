#include "picture.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb_easy_font.h>
#include <stb_image_write.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "evenkeel/base/error.h"

namespace evenkeel::app {
namespace {

constexpr int kColumns = 5, kEnlarge = 6, kMargin = 24, kTextHeight = 12;
constexpr std::uint8_t kWhite = 255, kInk = 32;

/// A gray page to draw on; what falls outside is cut off.
class Page {
 public:
  Page(int width, int height)
      : width_(width), height_(height), pixels_(std::size_t(width) * height, kWhite) {}

  void fill(int x, int y, int width, int height, std::uint8_t gray) {
    for (int row = std::max(y, 0); row < std::min(y + height, height_); ++row) {
      for (int column = std::max(x, 0); column < std::min(x + width, width_); ++column) {
        pixels_[std::size_t(row) * width_ + column] = gray;
      }
    }
  }

  /// Text whose top left corner is (x, y), in letters `scale` times 12 pixels high.
  void text(int x, int y, int scale, std::string text) {
    struct Vertex {
      float x, y, z;
      std::array<unsigned char, 4> color;
    };
    std::vector<Vertex> corners(text.size() * 100);  // four a quad, at most 25 quads a letter
    const int quads = stb_easy_font_print(0, 0, text.data(), nullptr, corners.data(),
                                          static_cast<int>(corners.size() * sizeof(Vertex)));
    for (int q = 0; q < quads; ++q) {
      const Vertex &low = corners[4 * q], &high = corners[4 * q + 2];
      const auto at = [scale](float v) { return static_cast<int>(v) * scale; };
      fill(x + at(low.x), y + at(low.y), at(high.x) - at(low.x), at(high.y) - at(low.y), kInk);
    }
  }

  /// Each pixel becomes a square; dark ink for high values.
  void image(int x, int y, int scale, const std::vector<std::uint8_t>& pixels, int width) {
    for (int i = 0; i < static_cast<int>(pixels.size()); ++i) {
      fill(x + i % width * scale, y + i / width * scale, scale, scale, pixels[i]);
    }
  }

  std::string png() const {
    std::string bytes;
    const auto append = [](void* to, void* data, int size) {
      static_cast<std::string*>(to)->append(static_cast<const char*>(data), size);
    };
    EK_CHECK(stbi_write_png_to_func(append, &bytes, width_, height_, 1, pixels_.data(), width_),
             "cannot encode a picture of {} x {} pixels", width_, height_);
    return bytes;
  }

 private:
  int width_, height_;
  std::vector<std::uint8_t> pixels_;
};

int text_width(std::string text) { return stb_easy_font_width(text.data()); }

}  // namespace

std::string tiles_png(const std::string& heading, const std::vector<Tile>& tiles, int width) {
  const int rows = (static_cast<int>(tiles.size()) + kColumns - 1) / kColumns;
  const int size = width * kEnlarge, title_height = 2 * kTextHeight;
  const int page_width = kMargin + kColumns * (size + kMargin);
  const int top = 2 * kMargin + title_height;
  Page page(page_width, top + rows * (title_height + size + kMargin));
  page.text(kMargin, kMargin, 2, heading);
  for (int i = 0; i < static_cast<int>(tiles.size()); ++i) {
    const int x = kMargin + i % kColumns * (size + kMargin);
    const int y = top + i / kColumns * (title_height + size + kMargin);
    page.text(x + (size - 2 * text_width(tiles[i].title)) / 2, y, 2, tiles[i].title);
    page.image(x, y + title_height, kEnlarge, tiles[i].pixels, width);
  }
  return page.png();
}

std::string sheet_png(const std::vector<std::vector<std::uint8_t>>& images, int columns, int width) {
  const int count = static_cast<int>(images.size());
  Page page(columns * width, std::max(1, (count + columns - 1) / columns) * width);
  for (int i = 0; i < count; ++i) page.image(i % columns * width, i / columns * width, 1, images[i], width);
  return page.png();
}

}  // namespace evenkeel::app
