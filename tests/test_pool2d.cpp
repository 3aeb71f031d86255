// Max, average and global average pooling.
#include <cmath>
#include <limits>

#include "compare.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/nn/functional.h"
#include "reference/pool2d.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

using Inputs = std::vector<Tensor>;

struct PoolCase {
  Shape x;
  Size2d kernel;
  PoolOptions options;
  const char* reason;
};
const PoolCase kPool2dCases[] = {
    {{1, 1, 1, 1}, 1, {}, "minimal: the identity"},
    {{2, 16, 24, 24}, 2, {}, "the study's"},
    {{7, 3, 4, 6}, 2, {}, "7 images"},
    {{2, 3, 5, 7}, 2, {}, "odd sizes: the last row and column are left out"},
    {{2, 2, 7, 9}, 3, {.stride = 2}, "windows overlap"},
    {{2, 2, 9, 8}, 2, {.stride = 3}, "windows leave gaps"},
    {{2, 2, 6, 5}, 3, {.stride = 1, .padding = 1}, "same size out as in"},
    {{17, 1, 5, 5}, 2, {.padding = 1}, "padding of half the kernel"},
    {{2, 3, 6, 10}, {3, 2}, {.stride = {1, 2}, .padding = {1, 0}}, "different each way"},
    {{1, 2, 1, 1}, 3, {.padding = 1}, "the window is larger than the image"},
    {{33, 2, 4, 4}, 4, {}, "one window: global"},
    {{2, 1, 3, 35}, {1, 5}, {.stride = {1, 3}}, "a row as window"},
    {{0, 2, 4, 4}, 2, {}, "no images"},
};

struct PoolOp {
  const char* name;
  Tensor (*op)(const Tensor&, Size2d, PoolOptions);
  Array (*forward)(const Array&, const reference::Pool2d&);
  Array (*backward)(const Array&, const Array&, const reference::Pool2d&);
};
const PoolOp kOps[] = {
    {"max_pool2d", max_pool2d, reference::max_pool2d, reference::max_pool2d_backward},
    {"avg_pool2d", avg_pool2d, reference::avg_pool2d, reference::avg_pool2d_backward},
};

reference::Pool2d as_reference(const PoolCase& c) {
  const Size2d stride = c.options.stride == Size2d(0) ? c.kernel : c.options.stride;
  return {c.kernel.h, c.kernel.w, stride.h, stride.w, c.options.padding.h, c.options.padding.w};
}

std::string describe(const PoolOp& op, const PoolCase& c) {
  const auto how = as_reference(c);
  return fmt::format("{} of {}, kernel ({}, {}), stride ({}, {}), padding ({}, {}): {}", op.name, c.x.str(),
                     how.R, how.S, how.stride_h, how.stride_w, how.pad_h, how.pad_w, c.reason);
}

}  // namespace

TEST_CASE("pooling agrees with the reference, forward and backward") {
  for (const PoolOp& op : kOps) {
    for (const PoolCase& c : kPool2dCases) {
      for_each_storage_kind([&](TensorOptions options) {
        for (double mean : {0.0, 1000.0, -1000.0}) {  // -1000: zeros of padding would win
          INFO(describe(op, c) << "; mean " << mean);
          Random random;
          Tensor x = leaf(random.normal(c.x, options, mean, mean == 0 ? 1 : 0.01));
          const Tensor y = op.op(x, c.kernel, c.options);
          const Tensor dy = random.normal(y.shape(), options);
          y.backward(dy);
          CHECK(close(y, op.forward(to_array(x), as_reference(c))));
          CHECK(close(x.grad(), op.backward(to_array(dy), to_array(x), as_reference(c))));
        }
      });
    }
  }
}

TEST_CASE("pooling has the right gradients") {
  for (const PoolOp& op : kOps) {
    for (const PoolCase& c : kPool2dCases) {
      for_each_device([&](TensorOptions options) {
        INFO(describe(op, c));
        CHECK(gradcheck([&](const Inputs& in) { return op.op(in[0], c.kernel, c.options); },
                        {leaf(Random().normal(c.x, options))}, {.max_elements = 30}));
      });
    }
  }
}

TEST_CASE("max_pool2d moves whole values: no rounding, first of equals, NaN wins") {
  for_each_storage_kind([](TensorOptions options) {
    Tensor x =
        leaf(from_vector<double>({1, 3, 3, 3, 2, 2, 2, 2}, {2, 2, 2}).to(options.dtype).to(options.device));
    const Tensor y = max_pool2d(x, 2);
    CHECK(y.shape() == Shape{2, 1, 1});
    CHECK(y.to_vector<double>() == std::vector<double>{3, 2});
    y.backward(full({2, 1, 1}, 5, options));
    CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 5, 0, 0, 5, 0, 0, 0});

    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
    for (std::int64_t position = 0; position < 4; ++position) {
      INFO("NaN at " << position);
      Tensor with_nan = full({1, 1, 4}, 7, options);
      with_nan.slice(2, position, position + 1).fill_(nan);
      Tensor z = leaf(with_nan.reshape({1, 2, 2}));
      const Tensor pooled = max_pool2d(z, 2);
      CHECK(std::isnan(pooled.item()));
      pooled.backward(ones({1, 1, 1}, options));
      CHECK(z.grad().to_vector<double>()[static_cast<std::size_t>(position)] == 1);
    }
    Tensor two = leaf(from_vector<double>({nan, 2, nan, 4}, {1, 2, 2}).to(options.dtype).to(options.device));
    max_pool2d(two, 2).backward(ones({1, 1, 1}, options));
    CHECK(two.grad().to_vector<double>() == std::vector<double>{0, 0, 1, 0});  // the last one, as in PyTorch
    // Nothing but -infinity still beats the padding, and its gradient lands inside.
    Tensor low = leaf(full({1, 3, 3}, -inf, options));
    const Tensor pooled = max_pool2d(low, 3, {.stride = 1, .padding = 1});
    CHECK(max(pooled.to(DType::f64)).item() == -inf);
    pooled.backward(ones({1, 3, 3}, options));
    CHECK(sum(low.grad().to(DType::f64)).item() == 9);
  });
}

TEST_CASE("every element of a pooling's gradient is written, whatever was in its memory before") {
  for (const PoolOp& op : kOps) {
    for_each_storage_kind([&](TensorOptions options) {
      for (std::int64_t size = 3; size <= 7; ++size) {
        for (std::int64_t kernel = 1; kernel <= 3; ++kernel) {
          for (std::int64_t stride = 1; stride <= kernel + 1; ++stride) {
            for (std::int64_t padding = 0; 2 * padding <= kernel; ++padding) {
              const PoolCase c{
                  {2, 1, size, size + 1}, kernel, {stride, padding}, "memory with other contents"};
              INFO(describe(op, c));
              Random random;
              Tensor x = leaf(random.normal(c.x, options));
              const Tensor y = op.op(x, c.kernel, c.options);
              const Tensor dy = random.normal(y.shape(), options);
              { const Tensor stale = leaf(full(c.x, 777, options)); }
              y.backward(dy);
              CHECK(close(x.grad(), op.backward(to_array(dy), to_array(x), as_reference(c))));
            }
          }
        }
      }
    });
  }
}

TEST_CASE("windows may be far larger than the plane, if padding is") {
  for_each_kind([](TensorOptions options) {
    constexpr std::int64_t huge = std::int64_t{1} << 30;
    Tensor x = leaf(arange(0, 6).to(options.dtype).to(options.device).reshape({1, 1, 3, 2}));
    const Tensor y = max_pool2d(x, {huge, 1}, {.padding = {huge / 2, 0}});
    CHECK(y.to_vector<double>() == std::vector<double>{4, 5});
    y.backward(ones(y.shape(), options));
    CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 0, 0, 0, 1, 1});
    const Tensor mean = avg_pool2d(x, {1, huge}, {.stride = {2, huge}, .padding = {0, huge / 2}});
    CHECK(mean.to_vector<double>() == std::vector<double>{1.0 / huge, 9.0 / huge});
  });
}

TEST_CASE("the average of equal values is that value, whatever the window") {
  for_each_kind([](TensorOptions options) {
    Tensor x = leaf(ones({2, 1, 7, 49}, options));
    const Tensor y = avg_pool2d(x, {1, 49});
    CHECK(y.to_vector<double>() == std::vector<double>(14, 1.0));
    y.backward(full(y.shape(), 49, options));
    CHECK(x.grad().to_vector<double>() == std::vector<double>(686, 1.0));
  });
}

TEST_CASE("global_avg_pool2d is the mean of each plane") {
  for_each_storage_kind([](TensorOptions options) {
    for (const Shape& shape :
         {Shape{1, 1, 1, 1}, Shape{2, 10, 4, 4}, Shape{7, 3, 5, 3}, Shape{17, 2, 33, 31}}) {
      INFO(shape.str());
      Random random;
      Tensor x = leaf(random.normal(shape, options));
      const Tensor y = global_avg_pool2d(x);
      const reference::Pool2d how{shape[2], shape[3], 1, 1};
      CHECK(y.shape() == Shape{shape[0], shape[1], 1, 1});
      CHECK(close(y, reference::avg_pool2d(to_array(x), how)));
      const Tensor dy = random.normal(y.shape(), options);
      y.backward(dy);
      CHECK(close(x.grad(), reference::avg_pool2d_backward(to_array(dy), to_array(x), how)));
    }
  });
}

TEST_CASE("pooling takes views, three axes, and any number of threads") {
  for (const PoolOp& op : kOps) {
    const auto check = [&](TensorOptions options) {
      INFO(op.name);
      Random random;
      Tensor x = leaf(random.normal({3, 4, 6, 5}, options));
      const Tensor y = op.op(x, 2, {.stride = 1});
      const Tensor dy = random.normal(y.shape(), options);
      y.backward(dy);
      CHECK(same_bits(op.op(with_gaps(x), 2, {.stride = 1}), y));
      CHECK(same_bits(op.op(x.reshape({12, 6, 5}), 2, {.stride = 1}), y.reshape({12, 5, 4})));
      Tensor again = leaf(x);
      op.op(transposed_in_memory(again), 2, {.stride = 1}).backward(with_gaps(dy));
      CHECK(same_bits(again.grad(), x.grad()));
      check_independent_of_threads([&] {
        Tensor many = leaf(Random().normal({37, 16, 24, 24}, options));
        const Tensor pooled = op.op(many, 2, {});
        pooled.backward(Random(2).normal(pooled.shape(), options));
        return Inputs{pooled, many.grad()};
      });
    };
    for_each_kind(check);
    for_each_16bit_kind(check);
  }
}

TEST_CASE("pooling refuses what does not fit") {
  const Tensor x = zeros({2, 3, 4, 4});
  for (const PoolOp& op : kOps) {
    CHECK(mentions(error_of([&] { op.op(x, 5, {}); }), {op.name, "5", "[2, 3, 4, 4]"}));
    CHECK(mentions(error_of([&] { op.op(x, 0, {}); }), {op.name, "kernel"}));
    CHECK(mentions(error_of([&] { op.op(x, 2, {.stride = -1}); }), {op.name, "stride"}));
    CHECK(mentions(error_of([&] { op.op(x, 2, {.padding = 2}); }), {op.name, "padding", "half"}));
    CHECK(mentions(error_of([&] { op.op(x, 2, {.padding = -1}); }), {op.name, "padding"}));
    CHECK(mentions(error_of([&] { op.op(zeros({4, 4}), 2, {}); }), {op.name, "[4, 4]"}));
    CHECK(mentions(error_of([&] { op.op(zeros({2, 3, 0, 4}), 2, {.padding = 1}); }), {op.name, "no pixels"}));
    constexpr std::int64_t huge = std::int64_t{1} << 31;
    CHECK(mentions(error_of([&] { op.op(x, huge, {.padding = huge / 2}); }), {op.name, "2^31"}));
    CHECK(mentions(error_of([&] { op.op(zeros({1, 4, 4}, {DType::u8}), 2, {}); }), {"floating", "u8"}));
    CHECK(error_of([&] {
            op.op(zeros({1, 4, 4}, {DType::bf16}), 2, {});
          }) ==
          std::string(op.name) + ": bf16 is computed on CUDA devices only; convert with to(DType::f32)");
  }
  CHECK(mentions(error_of([] { global_avg_pool2d(zeros({3, 4, 4})); }), {"global_avg_pool2d", "[3, 4, 4]"}));
}
