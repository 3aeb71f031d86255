#include "reference/conv2d.h"

namespace reference {
namespace {

/// The number of places at which a kernel of `taps` taps fits on an axis of `size`.
Index places(Index size, Index taps, Index stride, Index pad, Index dilation) {
  Index count = 0;
  for (Index start = -pad; start + dilation * (taps - 1) < size + pad; start += stride) ++count;
  return count;
}

struct Term {
  Index n, k, p, q;  // of y
  Index c, h, w;     // of x, in image n
  Index r, s;        // of weight, in filter k
  Index weight_c;
};

/// Calls f with every product weight[k, weight_c, r, s] * x[n, c, h, w] that enters y[n, k, p, q].
template <typename F>
void for_each_term(const Array& x, const Array& weight, const Conv2d& how, const F& f) {
  const Index N = x.size(0), H = x.size(2), W = x.size(3);
  const Index K = weight.size(0), C_per_group = weight.size(1), R = weight.size(2), S = weight.size(3);
  const Index P = places(H, R, how.stride_h, how.pad_h, how.dilation_h);
  const Index Q = places(W, S, how.stride_w, how.pad_w, how.dilation_w);
  for (Index n = 0; n < N; ++n)
    for (Index k = 0; k < K; ++k)
      for (Index p = 0; p < P; ++p)
        for (Index q = 0; q < Q; ++q)
          for (Index c = 0; c < C_per_group; ++c)
            for (Index r = 0; r < R; ++r)
              for (Index s = 0; s < S; ++s) {
                const Index group = k / (K / how.groups);
                const Index h = p * how.stride_h + r * how.dilation_h - how.pad_h;
                const Index w = q * how.stride_w + s * how.dilation_w - how.pad_w;
                if (h < 0 || h >= H || w < 0 || w >= W) continue;  // padding is zero
                f(Term{n, k, p, q, group * C_per_group + c, h, w, r, s, c});
              }
}

}  // namespace

Array conv2d(const Array& x, const Array& weight, const Array& bias, const Conv2d& how) {
  const Index P = places(x.size(2), weight.size(2), how.stride_h, how.pad_h, how.dilation_h);
  const Index Q = places(x.size(3), weight.size(3), how.stride_w, how.pad_w, how.dilation_w);
  Array y({x.size(0), weight.size(0), P, Q});
  for (Index n = 0; n < y.size(0); ++n)
    for (Index k = 0; k < y.size(1); ++k)
      for (Index p = 0; p < P; ++p)
        for (Index q = 0; q < Q; ++q) y(n, k, p, q) = bias(k);
  for_each_term(x, weight, how, [&](const Term& t) {
    y(t.n, t.k, t.p, t.q) += weight(t.k, t.weight_c, t.r, t.s) * x(t.n, t.c, t.h, t.w);
  });
  return y;
}

Conv2dGradients conv2d_backward(const Array& dy, const Array& x, const Array& weight, const Conv2d& how) {
  Conv2dGradients gradients{Array(x.shape), Array(weight.shape), Array({weight.size(0)})};
  for_each_term(x, weight, how, [&](const Term& t) {
    gradients.dx(t.n, t.c, t.h, t.w) += weight(t.k, t.weight_c, t.r, t.s) * dy(t.n, t.k, t.p, t.q);
    gradients.dweight(t.k, t.weight_c, t.r, t.s) += x(t.n, t.c, t.h, t.w) * dy(t.n, t.k, t.p, t.q);
  });
  for (Index n = 0; n < dy.size(0); ++n)
    for (Index k = 0; k < dy.size(1); ++k)
      for (Index p = 0; p < dy.size(2); ++p)
        for (Index q = 0; q < dy.size(3); ++q) gradients.dbias(k) += dy(n, k, p, q);
  return gradients;
}

}  // namespace reference
