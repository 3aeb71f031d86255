// What follows a convolution in a fused block - ReLU, norm, ReLU, pool, dropout - for the images of a unit,
// and its way back.
#pragma once

#include "evenkeel/kernels/cpu/lane_norm.h"
#include "evenkeel/kernels/fused_run.h"

namespace evenkeel::cpu::EK_ISA {

/// What forward keeps of a block for a unit.
template <typename T>
struct KeptUnit {
  Register<T>* z;           // [elements of z]; where the block keeps_pooled(), the pool's output instead
  Register<T>* statistics;  // [sets] of UnitStatistics; batch: of its moments
  std::uint8_t* taps;       // [elements of the output][lanes]: which of its window was the largest
  std::uint8_t* mask;       // [elements of the output][lanes]: 255 where dropout keeps it, else 0
  const T* merged;          // batch: [C][3], the mean, what rounding took from it, and rstd
};

/// Sums over the pixels of a channel in each image: of d xhat and d, d the gradient of the norm's output.
template <typename T>
struct ChannelSums {
  Register<T> d_xhat, d;
};

/// The epilogue of a block at work on a unit.
template <typename T>
class UnitEpilogue {
 public:
  UnitEpilogue(const RunBlock<T>& block, const KeptUnit<T>& kept, std::int64_t count)
      : block_(block), e_(block.after), kept_(kept), count_(count) {}

  /// Statistics, or for batch norm the moments of each channel, of z.
  void take_statistics(const Register<T>* z) const;
  /// The mask of dropout, whose first image is number `image` of the batch.
  void draw_mask(std::int64_t image) const;
  /// The output from z, as forward makes it: in `out` or `spare`, in kept_.z, or z itself.
  const Register<T>* forward(const Register<T>* z, Register<T>* out, Register<T>* spare) const;
  /// Whether that is `out`, which then need have no more room than for the output, if it is one of the first
  /// two; else the same holds of `spare`.
  bool ends_in_out() const;
  /// The same output again, from what is kept.
  const Register<T>* again(Register<T>* out, Register<T>* spare) const;

  /// A band of rows of a block whose output is the pool's, kept in kept_.z: row p of the maximum pool, from
  /// its window of rows of z [C][window][W], which are rectified in place where the block says so.
  void pool_band(Register<T>* z, std::int64_t p) const;
  /// The way back: the gradient of these rows, from that of the pool's output [C, P, Q].
  void spread_band(Register<T>* dz, const Register<T>* dy, std::int64_t p) const;
  /// Of such a block, the gradient g of the output becomes that of the pool's output.
  void backward_to_pool(Register<T>* g) const;

  /// True if backward_to_norm() leaves g as it is.
  bool reads_only() const;
  /// From the gradient g of the output, which is overwritten unless it reads_only(), to that of the norm's
  /// output after relu - or of z, where there is no norm. The result is in g or in `spare`.
  Register<T>* backward_to_norm(Register<T>* g, Register<T>* spare) const;
  // From here on dz and d may be g.
  /// Group, rows, pixels: the gradient of z from g, as backward_to_norm() left it; dgamma and dbeta, or null,
  /// are sums over the images.
  void backward_norm(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const;
  /// Batch: from such g the gradient d of the norm's output, and its sums over the pixels of each channel.
  /// Without a ReLU after the norm d is g, and may be null.
  void batch_sums(Register<T>* d, const Register<T>* g, ChannelSums<T>* sums) const;
  /// Batch: the gradient of z from d, and the means of gamma d xhat and gamma d over a channel of the batch,
  /// [C][2]; null where the statistics are constants, and dz = gamma rstd d.
  void backward_batch(Register<T>* dz, const Register<T>* d, const T* means) const;

 private:
  std::int64_t pixels() const { return static_cast<std::int64_t>(e_.H) * e_.W; }
  T gamma(std::int64_t i) const { return e_.block.gamma != nullptr ? e_.block.gamma[i] : T(1); }
  T beta(std::int64_t i) const { return e_.block.beta != nullptr ? e_.block.beta[i] : T(0); }
  UnitStatistics<T>* statistics() const { return reinterpret_cast<UnitStatistics<T>*>(kept_.statistics); }
  UnitStatistics<T> of_channel(std::int64_t c) const;
  Register<T> norm_input(const Register<T>& z) const { return rectified<T>(z, e_.relu_first); }

  /// The output of the norm and the relu after it, and of dropout, where nothing is pooled between them.
  void normalize(Register<T>* y, const Register<T>* z) const;
  /// Calls put(i, value) for each element.
  template <typename Put>
  void normalize_each(const Register<T>* z, Put put) const;
  void rectify(Register<T>* y, const Register<T>* z) const;
  void take_maximum(Register<T>* y, const Register<T>* x, std::int64_t rows_of_x, std::int64_t begin,
                    std::int64_t end) const;
  void take_average(Register<T>* y, const Register<T>* x) const;
  void drop(Register<T>* y, const Register<T>* x) const;
  void spread_gradient(Register<T>* dx, const Register<T>* dy, std::int64_t rows_of_x, std::int64_t begin,
                       std::int64_t end) const;
  void backward_groups(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const;
  void backward_rows(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const;
  void backward_pixels(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const;

  const RunBlock<T>& block_;
  const Epilogue<T>& e_;
  const KeptUnit<T>& kept_;
  std::int64_t count_;
};

}  // namespace evenkeel::cpu::EK_ISA
