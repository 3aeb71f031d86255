#include "evenkeel/kernels/rotate.h"
#include "evenkeel/core/dispatch.h"

#include <limits>

#include "evenkeel/nn/functional/common.h"

namespace evenkeel {

using namespace functional;

namespace {

void check_inputs(const char* op, const Tensor& images, const Tensor& index,
                  std::initializer_list<const Tensor*> others) {
  EK_CHECK(images.rank() == 3 && images.dtype() == DType::u8, "{}: images are {} {}, need u8 [count, H, W]",
           op, name_of(images.dtype()), images.shape().str());
  EK_CHECK(images.size(1) * images.size(2) <= std::numeric_limits<std::int32_t>::max(),
           "{}: images are {}, too large", op, images.shape().str());
  EK_CHECK(index.rank() == 1 && index.dtype() == DType::i64, "{}: index is {} {}, needs i64 [N]", op,
           name_of(index.dtype()), index.shape().str());
  for (const Tensor* x : others) {
    EK_CHECK(!x->defined() || x->device() == images.device(),
             "{}: images are on {}, index, angles or labels on {}", op, images.device().str(),
             x->device().str());
  }
}

void check_angles(const char* op, const Tensor& angles, const Shape& shape) {
  EK_CHECK(!angles.defined() || (angles.shape() == shape && angles.dtype() == DType::f32),
           "{}: angles are {} {}, need f32 {}", op, name_of(angles.dtype()), angles.shape().str(),
           shape.str());
}

}  // namespace

Tensor rotate_normalize(const Tensor& images, const Tensor& index, const Tensor& angles, double mean,
                        double std) {
  check_inputs("rotate_normalize", images, index, {&index, &angles});
  check_angles("rotate_normalize", angles, index.shape());
  const Tensor from = dense(images), which = dense(index), by = dense(angles);
  check_range("rotate_normalize", which, from.size(0));
  const std::int64_t N = which.size(0), H = from.size(1), W = from.size(2);
  Tensor y = empty({N, 1, H, W}, {DType::f32, from.device()});
  const RotateNormalizeArgs<float> args{.y = out<float>(y),
                                        .images = from.data<std::uint8_t>(),
                                        .index = which.data<std::int64_t>(),
                                        .angle = in<float>(by),
                                        .N = N,
                                        .H = H,
                                        .W = W,
                                        .mean = mean,
                                        .std = std};
  run_kernel<cpu::rotate_normalize<float>, cuda::rotate_normalize<float>>("rotate_normalize", from.device(),
                                                                          args);
  return y;
}

std::pair<Tensor, Tensor> take_batch(const ImageSource& source, const Tensor& order, const Tensor& first,
                                     std::int64_t N) {
  const Tensor images = dense(source.images), labels = dense(source.labels), angles = dense(source.angles),
               index = dense(order);
  check_inputs("take_batch", images, index, {&index, &labels, &angles, &first});
  check_angles("take_batch", angles, {images.size(0)});
  EK_CHECK(labels.dtype() == DType::i64 && labels.shape() == Shape{images.size(0)},
           "take_batch: labels are {} {}, need i64 [{}]", name_of(labels.dtype()), labels.shape().str(),
           images.size(0));
  EK_CHECK(!first.defined() || (first.numel() == 1 && first.dtype() == DType::i64),
           "take_batch: first is {} {}, needs one i64", name_of(first.dtype()), first.shape().str());
  EK_CHECK(0 <= N && N <= index.size(0), "take_batch: {} images of {} asked for", N, index.size(0));
  check_range("take_batch", index, images.size(0));
  const std::int64_t H = images.size(1), W = images.size(2);
  Tensor y = empty({N, 1, H, W}, {DType::f32, images.device()});
  Tensor of_images = empty({N}, labels.options());
  const RotateNormalizeArgs<float> args{.y = out<float>(y),
                                        .label = out<std::int64_t>(of_images),
                                        .images = images.data<std::uint8_t>(),
                                        .index = index.data<std::int64_t>(),
                                        .angle = in<float>(angles),
                                        .N = N,
                                        .H = H,
                                        .W = W,
                                        .mean = source.mean,
                                        .std = source.std,
                                        .labels = labels.data<std::int64_t>(),
                                        .angle_of_image = true,
                                        .first = in<std::int64_t>(first)};
  run_kernel<cpu::rotate_normalize<float>, cuda::rotate_normalize<float>>("rotate_normalize", images.device(),
                                                                          args);
  return {y, of_images};
}

}  // namespace evenkeel
