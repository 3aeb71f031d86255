// The blocked matrix product of the CPU, and convolution through it, at every edge of their blocks.
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/kernels/cpu/conv2d_gemm.h"
#include "evenkeel/kernels/matmul.h"
#include "reference/conv2d.h"
#include "reference/simple.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Inputs = std::vector<Tensor>;
namespace gemm = cpu::EK_ISA::gemm;

template <typename T>
constexpr TensorOptions kOptions{sizeof(T) == 4 ? DType::f32 : DType::f64};

/// a [batch, M, K] times b [batch, K, N], each as it is or transposed in memory.
template <typename T>
Tensor product(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const std::int64_t batch = a.size(0), M = a.size(1), K = a.size(2), N = b.size(2);
  const Tensor in_a = transpose_a ? a.transpose(1, 2).contiguous() : a;
  const Tensor in_b = transpose_b ? b.transpose(1, 2).contiguous() : b;
  Tensor c = zeros({batch, M, N}, a.options());
  c.fill_(std::numeric_limits<double>::quiet_NaN());  // all of it must be overwritten
  cpu::matmul<T>({c.template mutable_data<T>(), in_a.template data<T>(), in_b.template data<T>(), M * K,
                  transpose_a ? 1 : K, transpose_a ? M : 1, K * N, transpose_b ? 1 : N, transpose_b ? K : 1,
                  batch, M, N, K});
  return c;
}

/// The definition, for one matrix.
Array expected_product(const Tensor& a, const Tensor& b) {
  return reference::linear(to_array(a), to_array(b.transpose(0, 1).contiguous()), Array({b.size(1)}));
}

template <typename T>
void check_product(std::int64_t M, std::int64_t N, std::int64_t K) {
  INFO(M << " x " << N << " x " << K << ", " << name_of(kOptions<T>.dtype));
  Random random;
  const Tensor a = random.normal({1, M, K}, kOptions<T>), b = random.normal({1, K, N}, kOptions<T>);
  const Array expected = expected_product(a.reshape({M, K}), b.reshape({K, N}));
  for (bool transpose_a : {false, true}) {
    for (bool transpose_b : {false, true}) {
      INFO("transposed: " << transpose_a << ", " << transpose_b);
      const Tensor c = product<T>(a, b, transpose_a, transpose_b);
      CHECK(close(c.reshape({M, N}), expected, tolerance(kOptions<T>.dtype),
                  std::sqrt(static_cast<double>(K) + 1)));
    }
  }
}

template <typename T>
void check_products() {
  constexpr std::int64_t cols = gemm::kTileCols<T>, lanes = cpu::kLanes<T>, chunk = gemm::kChunk<T>;
  for (std::int64_t M : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17}) {
    for (std::int64_t N :
         {std::int64_t{1}, lanes / 2, lanes, lanes + 1, 2 * lanes, cols - 1, cols, cols + 1, 2 * cols + 3}) {
      check_product<T>(M, N, 3);
    }
  }
  for (std::int64_t K : {std::int64_t{0}, std::int64_t{1}, chunk - 1, chunk, chunk + 1, 3 * chunk + 5})
    check_product<T>(9, cols + 1, K);
  check_product<T>(391, 20, 5);   // more rows than a block
  check_product<T>(20, 391, 5);   // more columns than a block
  check_product<T>(389, 390, 2);  // both
}

struct ConvShape {
  std::int64_t N, C, H, W, K, R, S;
  std::int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  const char* reason;
};

const ConvShape kConvShapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, "minimal"},
    {1, 64, 7, 9, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, "one image, many channels, K in chunks"},
    {2, 33, 8, 8, 70, 3, 3, 1, 1, 1, 1, 1, 1, 1, "one past multiples of the tile"},
    {5, 70, 5, 6, 33, 3, 3, 1, 1, 0, 0, 1, 1, 1, "five images, no padding"},
    {5, 3, 1, 1, 9, 1, 1, 1, 1, 0, 0, 1, 1, 1, "planes of one pixel"},
    {37, 2, 3, 2, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, "many images in one part"},
    {2, 40, 70, 65, 40, 3, 3, 1, 1, 1, 1, 1, 1, 1, "an image in several parts"},
    {2, 30, 64, 61, 40, 3, 3, 2, 2, 1, 1, 1, 1, 1, "the same with a stride"},
    {1, 8, 9, 8, 80, 1, 1, 1, 1, 0, 0, 1, 1, 1, "1x1, filters shared out"},
    {2, 3, 15, 13, 9, 7, 7, 2, 2, 3, 3, 1, 1, 1, "7x7 by 2"},
    {2, 5, 11, 10, 6, 2, 2, 3, 3, 0, 0, 1, 1, 1, "a stride larger than the kernel"},
    {2, 4, 12, 9, 6, 3, 3, 2, 3, 1, 2, 1, 1, 1, "different stride and padding each way"},
    {2, 4, 13, 11, 6, 3, 2, 1, 1, 2, 1, 2, 3, 1, "dilation"},
    {2, 4, 13, 12, 6, 3, 2, 2, 2, 3, 3, 3, 2, 1, "everything at once"},
    {2, 4, 13, 12, 6, 3, 3, 2, 1, 1, 1, 1, 2, 2, "everything at once, grouped"},
    {2, 3, 1, 1, 4, 3, 3, 1, 1, 4, 4, 1, 1, 1, "outputs that see padding only"},
    {2, 3, 6, 6, 4, 3, 3, 1, 1, 5, 5, 1, 1, 1, "padding beyond the kernel"},
    {2, 3, 2, 3, 4, 5, 5, 1, 1, 2, 2, 1, 1, 1, "the kernel is larger than the image"},
    {2, 3, 1, 1, 4, 1, 1, 9, 9, 4, 4, 1, 1, 1, "a stride over the whole image: only padding is read"},
    {36, 3, 20, 20, 70, 3, 3, 1, 1, 1, 1, 1, 1, 1, "many parts, more filters than are taken at a time"},
    {3, 12, 6, 5, 10, 3, 3, 1, 1, 1, 1, 1, 1, 2, "two groups"},
    {3, 6, 6, 5, 6, 3, 3, 1, 1, 1, 1, 1, 1, 6, "depthwise"},
    {2, 3, 5, 7, 6, 3, 3, 2, 2, 1, 1, 1, 1, 3, "depthwise by 2, two filters a channel"},
    {0, 2, 5, 5, 3, 3, 3, 1, 1, 0, 0, 1, 1, 1, "no images"},
    {2, 0, 5, 5, 3, 3, 3, 1, 1, 0, 0, 1, 1, 1, "no channels: the bias alone"},
    {2, 3, 5, 5, 0, 3, 3, 1, 1, 0, 0, 1, 1, 1, "no filters"},
};

std::string describe(const ConvShape& c) {
  return fmt::format(
      "x [{}, {}, {}, {}], {} filters {}x{}, stride ({}, {}), padding ({}, {}), dilation ({}, {}), groups "
      "{}: {}",
      c.N, c.C, c.H, c.W, c.K, c.R, c.S, c.stride_h, c.stride_w, c.pad_h, c.pad_w, c.dilation_h, c.dilation_w,
      c.groups, c.reason);
}

/// The three directions, straight from the kernels.
template <typename T>
struct GemmRun {
  Tensor x, weight, bias, dy, y, dx, dweight, dbias;

  explicit GemmRun(const ConvShape& c, bool with_bias = true) {
    const std::int64_t P = (c.H + 2 * c.pad_h - c.dilation_h * (c.R - 1) - 1) / c.stride_h + 1;
    const std::int64_t Q = (c.W + 2 * c.pad_w - c.dilation_w * (c.S - 1) - 1) / c.stride_w + 1;
    const Conv2dSizes s{c.N, c.C,        c.H,        c.W,     c.K,     c.R,          c.S,          P,
                        Q,   c.stride_h, c.stride_w, c.pad_h, c.pad_w, c.dilation_h, c.dilation_w, c.groups};
    Random random;
    const auto normal = [&](const Shape& shape) { return random.normal(shape, kOptions<T>); };
    x = normal({c.N, c.C, c.H, c.W});
    weight = normal({c.K, c.C / c.groups, c.R, c.S});
    bias = normal({c.K});
    dy = normal({c.N, c.K, P, Q});
    y = nans(dy), dx = nans(x), dweight = nans(weight), dbias = nans(bias);
    gemm::conv2d_forward<T>({at(y), at(x), at(weight), with_bias ? at(bias) : nullptr, s});
    gemm::conv2d_backward_input<T>({at(dx), at(dy), at(weight), s});
    gemm::conv2d_backward_weight<T>({at(dweight), with_bias ? at(dbias) : nullptr, at(dy), at(x), s});
  }
  Inputs results() const { return {y, dx, dweight, dbias}; }

 private:
  static T* at(Tensor& t) { return t.template mutable_data<T>(); }
  static Tensor nans(const Tensor& like) {  // all of a result must be overwritten
    Tensor t = zeros(like.shape(), like.options());
    t.fill_(std::numeric_limits<double>::quiet_NaN());
    return t;
  }
};

template <typename T>
void check_conv(const ConvShape& c) {
  INFO(describe(c) << ", " << name_of(kOptions<T>.dtype));
  const GemmRun<T> run(c);
  const reference::Conv2d how{c.stride_h, c.stride_w, c.pad_h, c.pad_w, c.dilation_h, c.dilation_w, c.groups};
  const Array x = to_array(run.x), weight = to_array(run.weight), dy = to_array(run.dy);
  const auto expected = reference::conv2d_backward(dy, x, weight, how);
  CHECK(close(run.y, reference::conv2d(x, weight, to_array(run.bias), how)));
  CHECK(close(run.dx, expected.dx));
  CHECK(close(run.dweight, expected.dweight));
  const double terms =
      static_cast<double>(run.dy.numel()) / static_cast<double>(std::max<std::int64_t>(1, c.K));
  CHECK(close(run.dbias, expected.dbias, tolerance(kOptions<T>.dtype), std::sqrt(terms) + 1));
}

/// The same bits for 1 to 4 threads.
void check_threads(const std::function<Inputs()>& f) {
  const int before = num_threads();
  set_num_threads(1);
  const Inputs one = f();
  for (int threads : {2, 3, 4}) {
    INFO(threads << " threads");
    set_num_threads(threads);
    const Inputs more = f();
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i], more[i]));
  }
  set_num_threads(before);
}

}  // namespace

TEST_CASE("a matrix product agrees with the reference at every edge of its blocks") {
  check_products<float>();
  check_products<double>();
}

TEST_CASE("a batch of products is the products of the batch") {
  Random random;
  const Tensor a = random.normal({3, 10, 7}, kOptions<float>), b = random.normal({3, 7, 50}, kOptions<float>);
  const Tensor c = product<float>(a, b, false, true);
  for (std::int64_t i = 0; i < 3; ++i) {
    CHECK(close(
        c.slice(0, i, i + 1).reshape({10, 50}),
        expected_product(a.slice(0, i, i + 1).reshape({7 + 3, 7}), b.slice(0, i, i + 1).reshape({7, 50}))));
  }
}

TEST_CASE("a product takes operands with gaps") {
  Random random;
  const Tensor a = random.normal({9, 2 * 11}, kOptions<double>),
               b = random.normal({11, 3 * 30}, kOptions<double>);
  Tensor c = zeros({9, 30}, kOptions<double>);
  cpu::matmul<double>(
      {c.mutable_data<double>(), a.data<double>(), b.data<double>(), 0, 22, 2, 0, 90, 3, 1, 9, 30, 11});
  Array in_a({9, 11}), in_b({30, 11});
  for (int m = 0; m < 9; ++m) {
    for (int k = 0; k < 11; ++k) in_a(m, k) = a.data<double>()[m * 22 + k * 2];
  }
  for (int n = 0; n < 30; ++n) {
    for (int k = 0; k < 11; ++k) in_b(n, k) = b.data<double>()[k * 90 + n * 3];
  }
  CHECK(close(c, reference::linear(in_a, in_b, Array({30}))));
}

TEST_CASE("a product does not depend on the number of threads") {
  Random random;
  for (auto [M, N, K] : {std::array<std::int64_t, 3>{130, 100, 600}, {800, 410, 30}, {5, 900, 300}}) {
    const Tensor a = random.normal({1, M, K}, kOptions<float>), b = random.normal({1, K, N}, kOptions<float>);
    check_threads([&] {
      return Inputs{product<float>(a, b, false, false), product<float>(a, b, true, true)};
    });
  }
}

TEST_CASE("not-a-number and infinities go through a product as IEEE says") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  Tensor a = ones({1, 9, 5}, kOptions<float>), b = ones({1, 5, 20}, kOptions<float>);
  a.mutable_data<float>()[2 * 5 + 1] = static_cast<float>(nan);
  a.mutable_data<float>()[4 * 5 + 3] = 0;
  b.mutable_data<float>()[3 * 20 + 7] = static_cast<float>(inf);
  const Array c = to_array(product<float>(a, b, false, false));
  for (int m = 0; m < 9; ++m) {
    for (int n = 0; n < 20; ++n) {
      if (m == 2 || (m == 4 && n == 7)) {
        CHECK(std::isnan(c(0, m, n)));  // 0 * inf too
      } else {
        CHECK(c(0, m, n) == (n == 7 ? inf : m == 4 ? 4 : 5));
      }
    }
  }
}

TEST_CASE("convolution by products agrees with the reference, forward and backward") {
  for (const ConvShape& c : kConvShapes) {
    check_conv<float>(c);
    check_conv<double>(c);
  }
}

TEST_CASE("convolution by products needs no bias") {
  const ConvShape c{2, 5, 6, 7, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1, "no bias"};
  const GemmRun<float> with(c), without(c, false);
  CHECK(same_bits(with.dx, without.dx));
  CHECK(same_bits(with.dweight, without.dweight));
  CHECK(same_bits((without.y + with.bias.reshape({1, 9, 1, 1})), with.y));
  CHECK(std::isnan(without.dbias.slice(0, 0, 1).item()));  // not written
}

TEST_CASE("convolution by products does not depend on the number of threads") {
  for (const ConvShape& c :
       {kConvShapes[1], kConvShapes[5], kConvShapes[6], kConvShapes[7], kConvShapes[14]}) {
    INFO(describe(c));
    check_threads([&] { return GemmRun<float>(c).results(); });
    check_threads([&] { return GemmRun<double>(c).results(); });
  }
}

TEST_CASE("an infinity in x reaches the pixels and weights that meet it, and no others") {
  const std::int64_t size = 20;
  Tensor x = ones({1, 8, size, size}, kOptions<float>), weight = ones({8, 8, 3, 3}, kOptions<float>);
  x.mutable_data<float>()[(3 * size + 10) * size + 19] =
      std::numeric_limits<float>::infinity();  // the last of its row
  const Conv2dSizes s{1, 8, size, size, 8, 3, 3, size, size, 1, 1, 1, 1, 1, 1, 1};
  Tensor y = zeros({1, 8, size, size}, kOptions<float>), dweight = zeros({8, 8, 3, 3}, kOptions<float>);
  gemm::conv2d_forward<float>({y.mutable_data<float>(), x.data<float>(), weight.data<float>(), nullptr, s});
  const Tensor dy = ones(y.shape(), kOptions<float>);
  gemm::conv2d_backward_weight<float>(
      {dweight.mutable_data<float>(), nullptr, dy.data<float>(), x.data<float>(), s});
  const Array vy = to_array(y), vdw = to_array(dweight);
  for (int k = 0; k < 8; ++k) {
    for (int p = 0; p < size; ++p) {
      for (int q = 0; q < size; ++q) CHECK(std::isinf(vy(0, k, p, q)) == (std::abs(p - 10) <= 1 && q >= 18));
    }
    for (int c = 0; c < 8; ++c) {
      for (int r = 0; r < 3; ++r) {
        for (int t = 0; t < 3; ++t) CHECK(std::isinf(vdw(k, c, r, t)) == (c == 3 && t > 0));
      }
    }
  }
}
