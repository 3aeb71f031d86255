#include <limits>

#include "kernels/rotate.h"
#include "nn/functional/common.h"

namespace evenkeel {

using namespace functional;

Tensor rotate_normalize(const Tensor& images, const Tensor& index, const Tensor& angles, double mean,
                        double std, MemoryFormat format) {
  EK_CHECK(images.rank() == 3 && images.dtype() == DType::u8,
           "rotate_normalize: images are {} {}, need u8 [count, H, W]", name_of(images.dtype()),
           images.shape().str());
  EK_CHECK(images.size(1) * images.size(2) <= std::numeric_limits<std::int32_t>::max(),
           "rotate_normalize: images are {}, too large", images.shape().str());
  EK_CHECK(index.rank() == 1 && index.dtype() == DType::i64,
           "rotate_normalize: index is {} {}, needs i64 [N]", name_of(index.dtype()), index.shape().str());
  EK_CHECK(!angles.defined() || (angles.shape() == index.shape() && angles.dtype() == DType::f32),
           "rotate_normalize: angles are {} {}, need f32 {}", name_of(angles.dtype()), angles.shape().str(),
           index.shape().str());
  for (const Tensor* x : {&index, &angles}) {
    EK_CHECK(!x->defined() || x->device() == images.device(),
             "rotate_normalize: images are on {}, index or angles on {}", images.device().str(),
             x->device().str());
  }
  const Tensor from = dense(images), which = dense(index), by = dense(angles);
  check_range("rotate_normalize", which, from.size(0));
  Tensor y = empty({which.size(0), 1, from.size(1), from.size(2)}, {DType::f32, from.device()}, format);
  const RotateNormalizeArgs<float> args{out<float>(y),
                                        from.data<std::uint8_t>(),
                                        which.data<std::int64_t>(),
                                        in<float>(by),
                                        which.size(0),
                                        from.size(1),
                                        from.size(2),
                                        mean,
                                        std,
                                        format};
  EK_DISPATCH(from.device(), rotate_normalize, args);
  return y;
}

}  // namespace evenkeel
