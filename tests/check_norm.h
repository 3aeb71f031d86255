// What the four normalizations are all checked for.
#pragma once

#include <functional>

#include "compare.h"
#include "reference/norms.h"

namespace evenkeel::test {

/// One normalization of one shape: the library's function, and what the textbook needs to compute the same.
struct NormCase {
  Shape x, parameter;  // the shapes of x, and of gamma and beta
  reference::Partition partition;
  std::function<Tensor(const Tensor& x, const Tensor& gamma, const Tensor& beta)> op;
  std::string name;  // with the reason for the shape
  double eps = 1e-5;
  bool centred = true;  // false: RMS norm, which has no beta
};

/// What x is made of.
enum class NormInput { ordinary, offset, constant_planes, outliers };
inline constexpr NormInput kNormInputs[] = {NormInput::ordinary, NormInput::offset,
                                            NormInput::constant_planes, NormInput::outliers};
const char* name_of(NormInput input);
Tensor make_input(NormInput input, const Shape& shape, TensorOptions options, Random& random);

/// What rounding may change, as an absolute error. The reference knows a mean to a unit in the last place of
/// f64, so that every xhat of its set may be off by that much of |mean| / std: 1e-11 for 1000 +- 0.01. The
/// library, in f32 too, may be off by no more.
struct NormTolerance {
  double y = 0, dx = 0, dgamma = 0, dbeta = 0;

  /// `tolerance`: of the type that is computed in.
  NormTolerance(const reference::Partition& partition, double eps, const Array& x, const Array& gamma,
                const Array& y_expected, const Array& dy, double tolerance, bool centred = true);
};

/// Output and every gradient against the reference, on every device and in f32 and f64, on CUDA devices in
/// bf16 and f16: ordinary inputs, mean 1000 +- 0.01, constant planes and outliers; with both, either and none
/// of gamma and beta.
void check_norm_against_reference(const NormCase& c);
/// gradcheck of x, gamma and beta.
void check_norm_gradients(const NormCase& c);
/// The gradient of x in f32, of a scaled x where eps is 0, is that of x divided by the scale. On the CPU.
void check_norm_scales(const NormCase& c);
/// Views with other strides, as x and as dy, give the bits that dense tensors give.
void check_norm_takes_views(const NormCase& c);
/// Forward and backward give the same bits with one thread and with two.
void check_norm_threads(const NormCase& c);
/// Only the inputs that require a gradient get one, and it is the same as when all do.
void check_norm_partial_gradients(const NormCase& c);

reference::Sizes sizes_of(const Shape& shape);

}  // namespace evenkeel::test
