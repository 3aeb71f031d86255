#include "reference/pool2d.h"

#include <cmath>

namespace reference {
namespace {

Index places(Index size, Index window, Index stride, Index pad) {
  Index count = 0;
  for (Index start = -pad; start + window <= size + pad; start += stride) ++count;
  return count;
}

Array pooled_like(const Array& x, const Pool2d& how) {
  return Array({x.size(0), x.size(1), places(x.size(2), how.R, how.stride_h, how.pad_h),
                places(x.size(3), how.S, how.stride_w, how.pad_w)});
}

/// Calls f(n, c, p, q) for each element of y.
template <typename F>
void for_each_window(const Array& y, const F& f) {
  for (Index n = 0; n < y.size(0); ++n)
    for (Index c = 0; c < y.size(1); ++c)
      for (Index p = 0; p < y.size(2); ++p)
        for (Index q = 0; q < y.size(3); ++q) f(n, c, p, q);
}

/// Calls f(h, w) for each pixel of x in window (p, q), row by row, padding left out.
template <typename F>
void for_each_pixel(const Array& x, const Pool2d& how, Index p, Index q, const F& f) {
  for (Index r = 0; r < how.R; ++r)
    for (Index s = 0; s < how.S; ++s) {
      const Index h = p * how.stride_h - how.pad_h + r, w = q * how.stride_w - how.pad_w + s;
      if (h >= 0 && h < x.size(2) && w >= 0 && w < x.size(3)) f(h, w);
    }
}

struct Position {
  Index h = -1, w = -1;
};

Position position_of_max(const Array& x, const Pool2d& how, Index n, Index c, Index p, Index q) {
  Position best;
  for_each_pixel(x, how, p, q, [&](Index h, Index w) {
    const double value = x(n, c, h, w);
    if (best.h < 0 || value > x(n, c, best.h, best.w) || std::isnan(value)) best = {h, w};
  });
  return best;
}

}  // namespace

Array max_pool2d(const Array& x, const Pool2d& how) {
  Array y = pooled_like(x, how);
  for_each_window(y, [&](Index n, Index c, Index p, Index q) {
    const Position best = position_of_max(x, how, n, c, p, q);
    y(n, c, p, q) = x(n, c, best.h, best.w);
  });
  return y;
}

Array max_pool2d_backward(const Array& dy, const Array& x, const Pool2d& how) {
  Array dx(x.shape);
  for_each_window(dy, [&](Index n, Index c, Index p, Index q) {
    const Position best = position_of_max(x, how, n, c, p, q);
    dx(n, c, best.h, best.w) += dy(n, c, p, q);
  });
  return dx;
}

Array avg_pool2d(const Array& x, const Pool2d& how) {
  Array y = pooled_like(x, how);
  for_each_window(y, [&](Index n, Index c, Index p, Index q) {
    for_each_pixel(x, how, p, q, [&](Index h, Index w) { y(n, c, p, q) += x(n, c, h, w); });
    y(n, c, p, q) /= static_cast<double>(how.R * how.S);
  });
  return y;
}

Array avg_pool2d_backward(const Array& dy, const Array& x, const Pool2d& how) {
  Array dx(x.shape);
  for_each_window(dy, [&](Index n, Index c, Index p, Index q) {
    const double share = dy(n, c, p, q) / static_cast<double>(how.R * how.S);
    for_each_pixel(x, how, p, q, [&](Index h, Index w) { dx(n, c, h, w) += share; });
  });
  return dx;
}

}  // namespace reference
