#include "evenkeel/core/ops.h"
#include "evenkeel/core/dispatch.h"

#include "evenkeel/core/autograd.h"
#include "evenkeel/core/reordered.h"
#include "evenkeel/kernels/elementwise.h"
#include "evenkeel/kernels/matmul.h"
#include "evenkeel/kernels/reduce.h"

namespace evenkeel {
namespace {

using autograd::record;
using autograd::Saved;

/// dispatch_floating, and i64.
template <typename F>
void dispatch_comparable(DType dtype, F&& f, const char* op = __builtin_FUNCTION()) {
  if (dtype == DType::i64) {
    f.template operator()<std::int64_t>();
  } else {
    dispatch_floating(dtype, std::forward<F>(f), op);
  }
}

template <typename T>
BinaryArgs<T> binary_args(Tensor y, const Tensor& a, const Tensor& b) {
  return {.y = y.mutable_data<T>(),
          .a = a.data<T>(),
          .b = b.data<T>(),
          .shape = y.shape().extents(),
          .a_strides = a.strides().extents(),
          .b_strides = b.strides().extents()};
}

/// The gradient of one operand: `make()` summed over the axes that were repeated, or nothing where none is
/// wanted.
template <typename F>
Tensor gradient_if(bool wanted, const Shape& shape, F make) {
  return wanted ? sum_to(make(), shape) : Tensor();
}

}  // namespace

Tensor scalar_like(double value, const Tensor& like) {
  // What the dtype does not hold is infinite here, as a result of arithmetic would be.
  if (is_floating(like.dtype())) {
    dispatch_any(like.dtype(), [&]<typename T>() { value = static_cast<double>(static_cast<T>(value)); });
  }
  return full({}, value, like.options());
}

Tensor add(const Tensor& a, const Tensor& b) {
  const InOneOrder out("add", a, b);
  dispatch_storage(a.dtype(), a.device(), [&]<typename T>() {
    run_storage_kernel<cpu::add<T>, cuda::add<T>>("add", a.device(), binary_args<T>(out.y, out.a, out.b));
  });
  Tensor y = out.result();
  record("add", y, {&a, &b}, [sa = a.shape(), sb = b.shape()](const Tensor& dy) {
    return std::vector{sum_to(dy, sa), sum_to(dy, sb)};
  });
  return y;
}

Tensor sub(const Tensor& a, const Tensor& b) {
  const InOneOrder out("sub", a, b);
  dispatch_floating(a.dtype(), [&]<typename T>() {
    run_kernel<cpu::sub<T>, cuda::sub<T>>("sub", a.device(), binary_args<T>(out.y, out.a, out.b));
  });
  Tensor y = out.result();
  record("sub", y, {&a, &b}, [sa = a.shape(), sb = b.shape()](const Tensor& dy) {
    return std::vector{sum_to(dy, sa), sum_to(-dy, sb)};
  });
  return y;
}

Tensor mul(const Tensor& a, const Tensor& b) {
  const InOneOrder out("mul", a, b);
  dispatch_floating(a.dtype(), [&]<typename T>() {
    run_kernel<cpu::mul<T>, cuda::mul<T>>("mul", a.device(), binary_args<T>(out.y, out.a, out.b));
  });
  Tensor y = out.result();
  record("mul", y, {&a, &b},
         [a = Saved(a, b.requires_grad()), b = Saved(b, a.requires_grad()), sa = a.shape(), sb = b.shape(),
          need_a = a.requires_grad(), need_b = b.requires_grad()](const Tensor& dy) {
           return std::vector{gradient_if(need_a, sa, [&] { return dy * *b; }),
                              gradient_if(need_b, sb, [&] { return dy * *a; })};
         });
  return y;
}

Tensor div(const Tensor& a, const Tensor& b) {
  const InOneOrder out("div", a, b);
  dispatch_floating(a.dtype(), [&]<typename T>() {
    run_kernel<cpu::div<T>, cuda::div<T>>("div", a.device(), binary_args<T>(out.y, out.a, out.b));
  });
  Tensor y = out.result();
  record("div", y, {&a, &b},
         [y = Saved(y, b.requires_grad()), b = Saved(b), sa = a.shape(), sb = b.shape(),
          need_a = a.requires_grad(), need_b = b.requires_grad()](const Tensor& dy) {
           return std::vector{gradient_if(need_a, sa, [&] { return dy / *b; }),
                              gradient_if(need_b, sb, [&] { return -(dy * (*y / *b)); })};
         });
  return y;
}

Tensor equal(const Tensor& a, const Tensor& b) {
  const auto is_integer = [](const Tensor& x) { return x.defined() && !is_floating(x.dtype()); };
  if (is_integer(a) && is_integer(b) && (a.dtype() == DType::u8 || b.dtype() == DType::u8))
    return equal(a.to(DType::i64), b.to(DType::i64));
  const InOneOrder out("equal", a, b);
  dispatch_comparable(a.dtype(), [&]<typename T>() {
    run_kernel<cpu::equal<T>, cuda::equal<T>>("equal", a.device(), binary_args<T>(out.y, out.a, out.b));
  });
  return is_integer(a) ? out.y.to(DType::f32) : out.result();
}

// --- y = f(x)

/// y = f(x) by kernel(device, args). gradient(x, y) is the function from dy to dx, and keeps what it needs of
/// x or y.
template <typename Kernel, typename Gradient>
Tensor unary_op(const char* op, const Tensor& input, Kernel kernel, Gradient gradient) {
  const Tensor x = input.detach().contiguous();
  InOneOrder out(x);
  dispatch_floating(
      x.dtype(),
      [&]<typename T>() {
        kernel(x.device(),
               UnaryArgs<T>{.y = out.y.mutable_data<T>(), .x = out.a.data<T>(), .n = out.y.numel()});
      },
      op);
  Tensor y = out.result();
  record(op, y, {&input}, [dx = gradient(x, y)](const Tensor& dy) { return std::vector<Tensor>{dx(dy)}; });
  return y;
}

Tensor exp(const Tensor& input) {
  const auto kernel = []<typename T>(Device device, const UnaryArgs<T>& args) {
    run_kernel<cpu::exp<T>, cuda::exp<T>>("exp", device, args);
  };
  return unary_op("exp", input, kernel, [](const Tensor&, const Tensor& y) {
    return [y = Saved(y)](const Tensor& dy) { return dy * y.get(); };
  });
}

Tensor log(const Tensor& input) {
  const auto kernel = []<typename T>(Device device, const UnaryArgs<T>& args) {
    run_kernel<cpu::log<T>, cuda::log<T>>("log", device, args);
  };
  return unary_op("log", input, kernel, [](const Tensor& x, const Tensor&) {
    return [x = Saved(x)](const Tensor& dy) { return dy / x.get(); };
  });
}

Tensor sqrt(const Tensor& input) {
  const auto kernel = []<typename T>(Device device, const UnaryArgs<T>& args) {
    run_kernel<cpu::sqrt<T>, cuda::sqrt<T>>("sqrt", device, args);
  };
  return unary_op("sqrt", input, kernel, [](const Tensor&, const Tensor& y) {
    return [y = Saved(y)](const Tensor& dy) { return dy / (y.get() * 2.0); };
  });
}

Tensor abs(const Tensor& input) {
  const auto kernel = []<typename T>(Device device, const UnaryArgs<T>& args) {
    run_kernel<cpu::abs<T>, cuda::abs<T>>("abs", device, args);
  };
  return unary_op("abs", input, kernel, [](const Tensor& x, const Tensor&) {
    return [x = Saved(x)](const Tensor& dy) { return dy * sign(x.get()); };
  });
}

Tensor sign(const Tensor& input) {
  const auto kernel = []<typename T>(Device device, const UnaryArgs<T>& args) {
    run_kernel<cpu::sign<T>, cuda::sign<T>>("sign", device, args);
  };
  return unary_op("sign", input, kernel, [](const Tensor&, const Tensor&) {
    return [](const Tensor& dy) { return zeros_like(dy); };
  });
}

// --- reductions
// ----------------------------------------------------------------------------------------------------

namespace {

/// A reduction's axes, sorted into those that are kept and those that are reduced.
struct ReducedAxes {
  Extents kept, kept_strides, reduced, reduced_strides;
  Shape shape;             // of the result
  Shape keepdim_shape;     // of the result that keeps the reduced axes, as 1
  std::int64_t count = 1;  // elements reduced to one

  ReducedAxes(const char* op, const Tensor& x, const std::vector<int>& axes, bool keepdim) {
    std::vector<bool> is_reduced(x.rank(), axes.empty());
    for (int axis : axes) {
      if (x.rank() == 0 && (axis == 0 || axis == -1)) continue;  // a number counts as an axis of one element
      const int a = normalize_axis(op, axis, x.rank());
      EK_CHECK(!is_reduced[a], "{}: axis {} is named twice", op, axis);
      is_reduced[a] = true;
    }
    for (int d = 0; d < x.rank(); ++d) {
      const std::int64_t n = x.shape()[d];
      Extents& sizes = is_reduced[d] ? reduced : kept;
      Extents& strides = is_reduced[d] ? reduced_strides : kept_strides;
      sizes.at[sizes.rank++] = n;
      strides.at[strides.rank++] = x.strides()[d];
      if (is_reduced[d]) count *= n;
      keepdim_shape.push_back(is_reduced[d] ? 1 : n);
      if (keepdim || !is_reduced[d]) shape.push_back(is_reduced[d] ? 1 : n);
    }
  }
};

template <typename T>
ReduceArgs<T> reduce_args(Tensor& y, const Tensor& x, const ReducedAxes& r) {
  return {.y = y.mutable_data<T>(),
          .x = x.data<T>(),
          .kept = r.kept,
          .kept_strides = r.kept_strides,
          .reduced = r.reduced,
          .reduced_strides = r.reduced_strides};
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keepdim) {
  const ReducedAxes r("sum", x, axes, keepdim);
  Tensor y = empty(r.shape, x.options());
  dispatch_floating(x.dtype(), [&]<typename T>() {
    run_kernel<cpu::sum<T>, cuda::sum<T>>("sum", x.device(), reduce_args<T>(y, x, r));
  });
  record("sum", y, {&x}, [shape = x.shape(), kept = r.keepdim_shape](const Tensor& dy) {
    return std::vector{dy.reshape(kept).broadcast_to(shape)};
  });
  return y;
}

Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keepdim) {
  const ReducedAxes r("mean", x, axes, keepdim);
  EK_CHECK(r.count > 0, "mean: there is nothing to average in shape {}", x.shape().str());
  return sum(x, axes, keepdim) / static_cast<double>(r.count);
}

Tensor max(const Tensor& x, const std::vector<int>& axes, bool keepdim) {
  if (x.dtype() == DType::u8) return max(x.to(DType::i64), axes, keepdim).to(DType::u8);
  const ReducedAxes r("max", x, axes, keepdim);
  EK_CHECK(r.count > 0, "max: there is no largest of zero elements in shape {}", x.shape().str());
  Tensor y = empty(r.shape, x.options());
  dispatch_comparable(x.dtype(), [&]<typename T>() {
    run_kernel<cpu::max<T>, cuda::max<T>>("max", x.device(), reduce_args<T>(y, x, r));
  });
  record("max", y, {&x}, [x = Saved(x), y = Saved(y), axes, kept = r.keepdim_shape](const Tensor& dy) {
    const Tensor is_max = equal(*x, y.get().reshape(kept));
    return std::vector{dy.reshape(kept) * is_max / sum(is_max, axes, true)};
  });
  return y;
}

Tensor argmax(const Tensor& x, int axis) {
  if (x.dtype() == DType::u8) return argmax(x.to(DType::i64), axis);
  const ReducedAxes r("argmax", x, {axis}, false);
  EK_CHECK(r.count > 0, "argmax: there is no largest of zero elements in shape {}", x.shape().str());
  Tensor index = empty(r.shape, {DType::i64, x.device()});
  dispatch_comparable(x.dtype(), [&]<typename T>() {
    const ArgmaxArgs<T> args{.index = index.mutable_data<std::int64_t>(),
                             .x = x.data<T>(),
                             .kept = r.kept,
                             .kept_strides = r.kept_strides,
                             .reduced = r.reduced,
                             .reduced_strides = r.reduced_strides};
    run_kernel<cpu::argmax<T>, cuda::argmax<T>>("argmax", x.device(), args);
  });
  return index;
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  EK_CHECK(broadcast_shapes("sum_to", x.shape(), shape) == x.shape(),
           "sum_to: shape {} is not what broadcasting makes of {}", x.shape().str(), shape.str());
  const int extra = x.rank() - shape.rank();
  std::vector<int> axes;
  for (int d = 0; d < x.rank(); ++d) {
    if (d < extra || (shape[d - extra] == 1 && x.shape()[d] != 1)) axes.push_back(d);
  }
  return (axes.empty() ? x : sum(x, axes, true)).reshape(shape);
}

// --- matrix product
// --------------------------------------------------------------------------------------------------

Tensor matmul(const Tensor& a, const Tensor& b) {
  check_same_kind("matmul", {&a, &b});
  const int rank = a.rank();
  EK_CHECK((rank == 2 || rank == 3) && b.rank() == rank && a.size(-1) == b.size(-2) &&
               (rank == 2 || a.size(0) == b.size(0)),
           "matmul: shapes {} and {} are neither [M,K]x[K,N] nor [B,M,K]x[B,K,N]", a.shape().str(),
           b.shape().str());
  const bool batched = rank == 3;
  const std::int64_t batch = batched ? a.size(0) : 1, M = a.size(-2), K = a.size(-1), N = b.size(-1);
  Tensor c = empty(batched ? Shape{batch, M, N} : Shape{M, N}, a.options());
  const Shape &sa = a.strides(), &sb = b.strides();
  dispatch_floating(a.dtype(), [&]<typename T>() {
    const MatmulArgs<T> args{.c = c.mutable_data<T>(),
                             .a = a.data<T>(),
                             .b = b.data<T>(),
                             .a_stride_batch = batched ? sa[0] : 0,
                             .a_stride_m = sa[rank - 2],
                             .a_stride_k = sa[rank - 1],
                             .b_stride_batch = batched ? sb[0] : 0,
                             .b_stride_k = sb[rank - 2],
                             .b_stride_n = sb[rank - 1],
                             .batch = batch,
                             .M = M,
                             .N = N,
                             .K = K};
    run_kernel<cpu::matmul<T>, cuda::matmul<T>>("matmul", a.device(), args);
  });
  record("matmul", c, {&a, &b},
         [a = Saved(a, b.requires_grad()), b = Saved(b, a.requires_grad()), need_a = a.requires_grad(),
          need_b = b.requires_grad()](const Tensor& dc) {
           return std::vector{need_a ? matmul(dc, b.get().transpose(-1, -2)) : Tensor(),
                              need_b ? matmul(a.get().transpose(-1, -2), dc) : Tensor()};
         });
  return c;
}

}  // namespace evenkeel
