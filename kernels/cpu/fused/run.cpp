#include "evenkeel/kernels/fused_run.h"

#include "evenkeel/kernels/cpu/fused/convolution.h"
#include "evenkeel/kernels/cpu/fused/epilogue.h"
#include "evenkeel/kernels/cpu/fused/memory.h"
#include "evenkeel/kernels/cpu/fused/winograd.h"
#include "evenkeel/kernels/cpu/norm_common.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// The element operations of an image, forward.
template <typename T>
std::int64_t cost_of(const RunBlock<T>& b) {
  const Conv2dSizes& s = b.conv;
  const std::int64_t products = b.has_convolution() ? s.K * s.P * s.Q * (s.C / s.groups) * s.R * s.S : 0;
  return products + 4 * b.elements_of_z();
}

/// Buffers of a thread for what passes from step to step, each as large as the largest step needs.
template <typename T>
class Buffers {
 public:
  static constexpr int kCount = 3;

  explicit Buffers(std::int64_t elements) {
    static thread_local Scratch scratch;
    auto* memory = scratch.get<Register<T>>(kCount * elements);
    for (int i = 0; i < kCount; ++i) at_[i] = memory + i * elements;
  }
  bool hold(const Register<T>* p) const { return std::find(at_, at_ + kCount, p) != at_ + kCount; }
  /// One that holds none of these.
  Register<T>* other_than(const Register<T>* used = nullptr, const Register<T>* also_used = nullptr) const {
    int i = 0;
    while (at_[i] == used || at_[i] == also_used) ++i;
    return at_[i];
  }

 private:
  Register<T>* at_[kCount];
};

/// A run of blocks at work, forward or backward.
template <typename T>
class Run {
 public:
  Run(const RunBlock<T>* blocks, std::int64_t count, std::int64_t N, RunImages<const T> x, std::byte* saved)
      : blocks_(blocks), count_(count), N_(N), x_(x), layout_(blocks, count, N, x.in_units) {
    bool any_batch = false;
    for (std::int64_t i = 0; i < count; ++i) any_batch |= blocks[i].needs_batch();
    keeps_all_ = saved != nullptr || any_batch;
    if (saved == nullptr) {
      static thread_local Scratch scratch;
      saved = scratch.get<std::byte>(any_batch ? layout_.bytes() : layout_.bytes_of_batch());
    }
    saved_ = saved;
    for (std::int64_t i = 0; i < count; ++i)
      most_ = std::max({most_, blocks[i].elements_of_x(), blocks[i].elements_of_z()});
  }

  void forward(RunImages<T> y) {
    pack_all_weights(/*flip=*/false);
    for (std::int64_t i = 0; i < count_; ++i) use_running_statistics(i);
    std::int64_t begin = 0;
    while (begin <= count_) {  // `end`: the block after which all tasks wait, or count_
      std::int64_t end = begin;
      while (end < count_ && !blocks_[end].needs_batch()) ++end;
      for_each_unit(begin, end, [&](std::int64_t unit) { forward_unit(unit, begin, end, y); });
      if (end == count_) return;
      merge_moments(end);
      begin = end + 1;
    }
  }

  void backward(const FusedRunBackwardArgs<T>& a) {
    find_wanted(a.dx.at != nullptr);
    if (first_wanted_ == count_) return;
    pack_all_weights(/*flip=*/true);
    allocate_partials();
    std::int64_t top = count_;  // the blocks from here on are done; but for its sums, `top` too
    while (true) {
      std::int64_t stop = top - 1;  // the next block that needs the batch
      while (stop >= first_wanted_ && !blocks_[stop].needs_batch()) --stop;
      for_each_unit(std::max(stop, first_wanted_), top,
                    [&](std::int64_t unit) { backward_unit(unit, top, stop, a); });
      if (stop < first_wanted_) break;
      merge_channel_sums(stop);
      top = stop;
    }
    add_partials();
  }

 private:
  static constexpr int L = kRegisterLanes<T>;

  template <typename F>
  void for_each_unit(std::int64_t begin, std::int64_t end, const F& f) const {
    std::int64_t cost = 1;
    for (std::int64_t i = begin; i < std::min(end + 1, count_); ++i) cost += L * cost_of(blocks_[i]);
    parallel_for(units_of<T>(N_), cost, f);
  }

  /// Where what a unit keeps is: without backward and without waiting, in memory of the thread.
  std::byte* piece_of(std::int64_t unit) const {
    if (keeps_all_) return layout_.piece(saved_, unit);
    static thread_local Scratch scratch;
    return scratch.get<std::byte>(layout_.bytes_of_unit());
  }
  KeptUnit<T> kept(std::int64_t i, std::int64_t unit, std::byte* piece) const {
    KeptUnit<T> memory = layout_.kept(i, saved_, piece);
    if (i == 0 && x_.in_units && blocks_[0].z_is_x())
      memory.z = const_cast<Register<T>*>(unit_of(x_, unit, blocks_[0].elements_of_x()));
    return memory;
  }

  /// The registers of a unit, if there are images and they lie in units; else null.
  static const Register<T>* unit_of(RunImages<const T> images, std::int64_t unit, std::int64_t size) {
    if (images.at == nullptr || !images.in_units) return nullptr;
    return reinterpret_cast<const Register<T>*>(images.at) + unit * size;
  }
  static Register<T>* unit_of(RunImages<T> images, std::int64_t unit, std::int64_t size) {
    if (images.at == nullptr || !images.in_units) return nullptr;
    return reinterpret_cast<Register<T>*>(images.at) + unit * size;
  }
  /// The images of a unit, where they lie if that is in units, else in `to`.
  const Register<T>* load(Register<T>* to, RunImages<const T> images, std::int64_t unit,
                          std::int64_t size) const {
    if (const Register<T>* there = unit_of(images, unit, size)) return there;
    load_unit<T>(to, images.at + unit * L * size, size, size, images_of_unit<T>(N_, unit));
    return to;
  }
  void store(RunImages<T> images, const Register<T>* from, std::int64_t unit, std::int64_t size) const {
    if (Register<T>* there = unit_of(images, unit, size)) {
      if (there != from) std::copy_n(from, size, there);
    } else {
      store_unit<T>(images.at + unit * L * size, from, size, size, images_of_unit<T>(N_, unit));
    }
  }

  // --- forward ---------------------------------------------------------------------------------------------

  /// Block i's convolution, or its way back.
  Correlation correlation(std::int64_t i, bool flip) const {
    return flip ? backward_correlation(blocks_[i].conv) : forward_correlation(blocks_[i].conv);
  }
  static bool uses_winograd(const Correlation& g, bool flip) {
    return flip ? winograd_pays_for_input_gradient(g) : winograd_pays(g);
  }

  bool is_convolved(std::int64_t i, bool flip) const {
    return blocks_[i].has_convolution() && (!flip || passes_gradient(i));
  }
  /// True if somebody wants the gradient of block i's input.
  bool passes_gradient(std::int64_t i) const { return i > first_wanted_ || (i == 0 && wants_dx_); }

  /// The weights of all convolutions as the kernels of a direction read them.
  void pack_all_weights(bool flip) {
    static thread_local Scratch scratch, of_offsets;
    auto* offsets = of_offsets.get<std::int64_t>(count_ + 1);
    offsets[0] = 0;
    for (std::int64_t i = 0; i < count_; ++i) {
      offsets[i + 1] = offsets[i];
      if (!is_convolved(i, flip)) continue;
      const Correlation g = correlation(i, flip);
      offsets[i + 1] += uses_winograd(g, flip) ? winograd_size(g) : g.weights();
    }
    T* to = scratch.get<T>(offsets[count_]);
    weights_ = to;
    weight_offsets_ = offsets;
    for (std::int64_t i = 0; i < count_; ++i) {
      if (!is_convolved(i, flip)) continue;
      T* of_block = to + offsets[i];
      const T* w = blocks_[i].after.block.weight;
      const Correlation forward = forward_correlation(blocks_[i].conv);
      if (uses_winograd(correlation(i, flip), flip)) {
        winograd_weights(of_block, w, forward, flip);
      } else {
        flip ? pack_flipped_weights(of_block, w, forward) : pack_weights(of_block, w, forward);
      }
    }
  }

  /// y = the convolution of x, or dx that of dy.
  void convolve(Register<T>* y, const Register<T>* x, std::int64_t i, bool flip) const {
    const Correlation g = correlation(i, flip);
    const T* bias = flip ? nullptr : blocks_[i].bias;
    const T* w = weights_ + weight_offsets_[i];
    uses_winograd(g, flip) ? winograd_correlate<T>(y, x, w, bias, g) : correlate<T>(y, x, w, bias, g);
  }

  const Register<T>* load_input(Register<T>* to, std::int64_t unit) const {
    return load(to, x_, unit, blocks_[0].elements_of_x());
  }

  /// Blocks [begin, end), and the convolution and moments of `end`; before them the epilogue of begin - 1.
  void forward_unit(std::int64_t unit, std::int64_t begin, std::int64_t end, RunImages<T> y) const {
    const Buffers<T> buffers(most_);
    std::byte* const piece = piece_of(unit);
    const std::int64_t count = images_of_unit<T>(N_, unit),
                       size_of_y = blocks_[count_ - 1].elements_of_output();
    Register<T>* const unit_of_y = unit_of(y, unit, size_of_y);
    const Register<T>* x = nullptr;
    const auto after = [&](std::int64_t i, const KeptUnit<T>& kept, const Register<T>* z) {
      const UnitEpilogue<T> epilogue(blocks_[i], kept, count);
      epilogue.draw_mask(unit * L);
      Register<T>* out = buffers.other_than(z);
      Register<T>* spare = buffers.other_than(z, out);
      if (i == count_ - 1 && unit_of_y != nullptr) (epilogue.ends_in_out() ? out : spare) = unit_of_y;
      x = epilogue.forward(z, out, spare);
    };
    if (begin == 0) {
      x = load_input(blocks_[0].z_is_x() ? kept(0, unit, piece).z : buffers.other_than(), unit);
    } else {
      const KeptUnit<T> before = kept(begin - 1, unit, piece);
      after(begin - 1, before, before.z);
    }
    for (std::int64_t i = begin; i < std::min(end + 1, count_); ++i) {
      const RunBlock<T>& b = blocks_[i];
      const KeptUnit<T> memory = kept(i, unit, piece);
      const Register<T>* z = x;
      if (works_in_bands(b)) {
        const UnitEpilogue<T> epilogue(b, memory, count);
        convolve_and_pool(epilogue, buffers.other_than(x), x, i);
        epilogue.draw_mask(unit * L);
        Register<T>* out = buffers.other_than();
        x = epilogue.again(out, buffers.other_than(out));
        continue;
      }
      if (b.has_convolution()) {
        const bool is_y = i == count_ - 1 && b.is_bare();
        Register<T>* to = is_y && unit_of_y != nullptr ? unit_of_y
                          : is_y || b.keeps_pooled()   ? buffers.other_than(x)
                                                       : memory.z;
        convolve(to, x, i, /*flip=*/false);
        z = to;
      } else if (b.z_is_x() && x != memory.z) {
        std::copy_n(x, b.elements_of_z(), memory.z);
        z = memory.z;
      }
      UnitEpilogue<T>(b, memory, count).take_statistics(z);
      if (i == end) return;
      after(i, memory, z);
    }
    store(y, x, unit, size_of_y);
  }

  /// A convolution of pixels and the maximum pool after it work on a band of rows at a time, which stays in
  /// the first-level cache.
  static bool works_in_bands(const RunBlock<T>& b) {
    if (!b.has_convolution() || !b.keeps_pooled()) return false;
    const Correlation g = forward_correlation(b.conv);
    return g.is_of_pixels() && g.groups == 1 && g.h.out % b.after.window == 0 &&
           g.w.out % b.after.window == 0;
  }

  void convolve_and_pool(const UnitEpilogue<T>& epilogue, Register<T>* z, const Register<T>* x,
                         std::int64_t i) const {
    const RunBlock<T>& b = blocks_[i];
    const std::int64_t rows = b.after.window, band = rows * b.conv.W;
    const Correlation g = forward_correlation(b.conv).band(rows, b.conv.H * b.conv.W, band);
    for (std::int64_t p = 0; p < b.after.pooled_height(); ++p) {
      correlate<T>(z, x + p * band, weights_ + weight_offsets_[i], b.bias, g);
      epilogue.pool_band(z, p);
    }
  }

  void set_statistics(std::int64_t i, std::int64_t c, double mean, double variance) {
    const Epilogue<T>& e = blocks_[i].after;
    T* to = layout_.merged(i, saved_) + 3 * c;
    const SplitMean<T> split_mean = split<T>(mean);
    to[0] = split_mean.high;
    to[1] = split_mean.low;
    to[2] = static_cast<T>(rstd_of(variance, e.eps));
  }

  void use_running_statistics(std::int64_t i) {
    const Epilogue<T>& e = blocks_[i].after;
    if (e.norm != NormPartition::batch || e.training) return;
    for (std::int64_t c = 0; c < e.C; ++c)
      set_statistics(i, c, e.block.running_mean[c], e.block.running_var[c]);
  }

  /// The statistics of the batch from the moments of its images.
  void merge_moments(std::int64_t i) {
    const Epilogue<T>& e = blocks_[i].after;
    const FusedBlockPointers<T>& b = e.block;
    static thread_local Scratch scratch;
    auto* of_images = scratch.get<Moments>(N_);
    for (std::int64_t c = 0; c < e.C; ++c) {
      for (std::int64_t n = 0; n < N_; ++n) {
        const auto& m = reinterpret_cast<const UnitStatistics<T>*>(
            kept(i, n / L, layout_.piece(saved_, n / L)).statistics)[c];
        const auto lane = static_cast<int>(n % L);
        of_images[n] = {static_cast<double>(e.H) * e.W,
                        static_cast<double>(m.mean[lane]) + static_cast<double>(m.lost[lane]),
                        static_cast<double>(m.spread[lane])};
      }
      const Moments all = merged(of_images, N_, 1);
      set_statistics(i, c, all.mean, all.variance());
      if (b.running_mean == nullptr) continue;
      b.running_mean[c] =
          static_cast<T>(moved_average(static_cast<double>(b.running_mean[c]), all.mean, e.momentum));
      b.running_var[c] = static_cast<T>(
          moved_average(static_cast<double>(b.running_var[c]), all.m2 / (all.count - 1), e.momentum));
    }
    if (b.batches_tracked != nullptr) ++*b.batches_tracked;
  }

  // --- backward --------------------------------------------------------------------------------------------

  static bool wants_any(const RunBlock<T>& b) {
    return b.dweight != nullptr || b.dbias != nullptr || b.dgamma != nullptr || b.dbeta != nullptr;
  }
  void find_wanted(bool wants_dx) {
    wants_dx_ = wants_dx;
    while (!wants_dx && first_wanted_ < count_ && !wants_any(blocks_[first_wanted_])) ++first_wanted_;
  }

  /// The gradients of parameters: where each is in a row of partials, and its size.
  struct Parameter {
    T* out;
    std::int64_t at, size;
  };
  Parameter parameter(std::int64_t i, int which) const {
    const RunBlock<T>& b = blocks_[i];
    T* const outs[] = {b.dweight, b.dbias, b.dgamma, b.dbeta};
    const std::int64_t affine = b.after.norm == NormPartition::rows ? b.after.set_size : b.after.C;
    const std::int64_t sizes[] = {b.has_convolution() ? forward_correlation(b.conv).weights() : 0, b.after.C,
                                  affine, affine};
    return {outs[which], 0, outs[which] != nullptr ? sizes[which] : 0};
  }

  /// A row of partial gradients a unit; rows that have no unit, so that the images of a block of 64 bytes
  /// have whole rows, are 0.
  void allocate_partials() {
    for (std::int64_t i = 0; i < count_; ++i) {
      for (int which = 0; which < 4; ++which) {
        Parameter p = parameter(i, which);
        p.at = row_;
        row_ += p.size;
        parameters_.push_back(p);
      }
    }
    rows_ = (N_ + kLanes<T> - 1) / kLanes<T> * (kLanes<T> / L);
    static thread_local Scratch scratch, of_gradients, of_sums;
    partials_ = scratch.get<T>(rows_ * row_);
    std::fill(partials_ + units_of<T>(N_) * row_, partials_ + rows_ * row_, T(0));
    for (std::int64_t i = first_wanted_; i < count_; ++i) {
      if (!blocks_[i].needs_batch()) continue;
      pending_ = std::max(pending_, blocks_[i].elements_of_z());
      channels_ = std::max<std::int64_t>(channels_, blocks_[i].after.C);
    }
    gradients_ = of_gradients.get<Register<T>>(units_of<T>(N_) * pending_);
    sums_ = of_sums.get<T>((rows_ + 1) * 2 * channels_);
  }
  T* partial(std::int64_t i, int which, std::int64_t unit) const {
    const Parameter& p = parameters_[static_cast<std::size_t>(4 * i + which)];
    return p.out != nullptr ? partials_ + unit * row_ + p.at : nullptr;
  }

  /// From the gradient of the output of block top - 1 (top == count_: dy), or for one that needs the batch,
  /// and whose sums are merged, of its norm's output, down to the sums of block `stop`.
  void backward_unit(std::int64_t unit, std::int64_t top, std::int64_t stop,
                     const FusedRunBackwardArgs<T>& a) const {
    const Buffers<T> buffers(most_);
    std::byte* const piece = layout_.piece(saved_, unit);
    const std::int64_t count = images_of_unit<T>(N_, unit);
    Register<T>* const unit_of_dx = unit_of(a.dx, unit, blocks_[0].elements_of_x());
    // Where the gradient of z goes from g, that of the norm's output: to g itself, unless that is the
    // caller's dy, or it has come to dx.
    const auto place_of_dz = [&](std::int64_t block, Register<T>* g) {
      if (block == 0 && !blocks_[0].has_convolution() && unit_of_dx != nullptr) return unit_of_dx;
      return buffers.hold(g) ? g : buffers.other_than();
    };
    Register<T>* g = buffers.other_than();
    std::int64_t i = top;
    if (top == count_) {
      const RunBlock<T>& last = blocks_[count_ - 1];
      const std::int64_t n = last.elements_of_output();
      const Register<T>* dy = load(g, a.dy, unit, n);
      if (UnitEpilogue<T>(last, kept(count_ - 1, unit, piece), count).reads_only()) {
        g = const_cast<Register<T>*>(dy);
      } else if (dy != g) {
        std::copy_n(dy, n, g);
      }
    } else {
      const KeptUnit<T> memory = kept(top, unit, piece);
      g = place_of_dz(top, g);
      UnitEpilogue<T>(blocks_[top], memory, count).backward_batch(g, pending_gradient(top, unit, a), means());
      g = backward_convolution(buffers, unit, top, g, a);
      if (g == nullptr) return;
    }
    while (--i >= first_wanted_) {
      const RunBlock<T>& b = blocks_[i];
      const KeptUnit<T> memory = kept(i, unit, piece);
      const UnitEpilogue<T> epilogue(b, memory, count);
      if (works_in_bands(b)) {
        epilogue.backward_to_pool(g);
        g = backward_in_bands(buffers, epilogue, unit, i, g, a);
        if (g == nullptr) return;
        continue;
      }
      g = epilogue.backward_to_norm(g, buffers.other_than(g));
      if (i == stop) {
        Register<T>* d = is_pending_dy(i, a) ? nullptr : gradients_ + unit * pending_;
        take_channel_sums(epilogue, d, g, sums_ + unit * 2 * channels_, b.after.C, count);
        return;
      }
      Register<T>* dz = b.after.norm == NormPartition::none ? g : place_of_dz(i, g);
      if (b.after.norm == NormPartition::batch) {
        backward_fixed_batch(i, epilogue, dz, g, unit, count);
      } else {
        epilogue.backward_norm(dz, g, partial(i, 2, unit), partial(i, 3, unit));
      }
      g = backward_convolution(buffers, unit, i, dz, a);
      if (g == nullptr) return;
    }
  }

  /// True if the gradient of the norm's output in block i, which waits for the other units, is dy as it lies.
  bool is_pending_dy(std::int64_t i, const FusedRunBackwardArgs<T>& a) const {
    const Epilogue<T>& e = blocks_[i].after;
    return i == count_ - 1 && a.dy.in_units && !e.relu && e.pool == FusedPool::none && e.p == 0;
  }
  const Register<T>* pending_gradient(std::int64_t i, std::int64_t unit,
                                      const FusedRunBackwardArgs<T>& a) const {
    return is_pending_dy(i, a) ? unit_of(a.dy, unit, blocks_[i].elements_of_z())
                               : gradients_ + unit * pending_;
  }

  /// The sums of d xhat [C], then of d [C], over the images of a unit.
  static void take_channel_sums(const UnitEpilogue<T>& epilogue, Register<T>* d, const Register<T>* g, T* to,
                                std::int64_t C, std::int64_t count) {
    static thread_local Scratch scratch;
    auto* sums = scratch.get<ChannelSums<T>>(C);
    epilogue.batch_sums(d, g, sums);
    sum_lanes<T>(to, C, count, [=](std::int64_t c) EK_INLINE_LAMBDA { return sums[c].d_xhat; });
    sum_lanes<T>(to + C, C, count, [=](std::int64_t c) EK_INLINE_LAMBDA { return sums[c].d; });
  }

  /// Batch norm by its running statistics, which are constants: dz = gamma rstd d.
  void backward_fixed_batch(std::int64_t i, const UnitEpilogue<T>& epilogue, Register<T>* dz,
                            const Register<T>* g, std::int64_t unit, std::int64_t count) const {
    const std::int64_t C = blocks_[i].after.C;
    static thread_local Scratch scratch;
    T* sums = scratch.get<T>(2 * C);
    T *dgamma = partial(i, 2, unit), *dbeta = partial(i, 3, unit);
    const bool relu = blocks_[i].after.relu;
    take_channel_sums(epilogue, relu ? dz : nullptr, g, sums, C, count);
    if (dgamma != nullptr) std::copy_n(sums, C, dgamma);
    if (dbeta != nullptr) std::copy_n(sums + C, C, dbeta);
    epilogue.backward_batch(dz, relu ? dz : g, nullptr);
  }

  /// The gradients of a convolution from that of z; that of its input is returned, or stored in dx, or null
  /// where nobody wants it.
  Register<T>* backward_convolution(const Buffers<T>& buffers, std::int64_t unit, std::int64_t i,
                                    Register<T>* dz, const FusedRunBackwardArgs<T>& a) const {
    const RunBlock<T>& b = blocks_[i];
    const std::int64_t count = images_of_unit<T>(N_, unit);
    const bool wants_dx = passes_gradient(i);
    if (b.has_convolution()) {
      if (T* dbias = partial(i, 1, unit)) bias_gradient(dbias, dz, b, count);
      if (T* dweight = partial(i, 0, unit)) {
        const Register<T>* x = input_again(i, unit, buffers.other_than(dz), buffers, dz);
        const Correlation g = forward_correlation(b.conv);
        if (winograd_pays_for_weight_gradient(g)) {
          winograd_weight_gradient<T>(dweight, dz, x, g, count);
        } else {
          weight_gradient<T>(dweight, dz, x, g, count);
        }
      }
      if (!wants_dx) return nullptr;
      Register<T>* const unit_of_dx = i == 0 ? unit_of(a.dx, unit, b.elements_of_x()) : nullptr;
      Register<T>* dx = unit_of_dx != nullptr ? unit_of_dx : buffers.other_than(dz);
      convolve(dx, dz, i, /*flip=*/true);
      dz = dx;
    }
    return pass_on(i, unit, wants_dx ? dz : nullptr, a);
  }

  /// The input of block i, as forward had it; in `out`, unless it lies elsewhere. `used` is not touched.
  const Register<T>* input_again(std::int64_t i, std::int64_t unit, Register<T>* out,
                                 const Buffers<T>& buffers, const Register<T>* used) const {
    if (i == 0) return load_input(out, unit);
    const KeptUnit<T> before = kept(i - 1, unit, layout_.piece(saved_, unit));
    return UnitEpilogue<T>(blocks_[i - 1], before, images_of_unit<T>(N_, unit))
        .again(out, buffers.other_than(used, out));
  }

  /// The way back of convolve_and_pool(), from the gradient of the pool's output.
  Register<T>* backward_in_bands(const Buffers<T>& buffers, const UnitEpilogue<T>& epilogue,
                                 std::int64_t unit, std::int64_t i, Register<T>* dy,
                                 const FusedRunBackwardArgs<T>& a) const {
    const RunBlock<T>& b = blocks_[i];
    const std::int64_t count = images_of_unit<T>(N_, unit), rows = b.after.window, band = rows * b.conv.W;
    const std::int64_t plane = b.conv.H * b.conv.W, filters = b.conv.K * b.conv.C;
    T *dweight = partial(i, 0, unit), *dbias = partial(i, 1, unit);
    static thread_local Scratch scratch;
    auto* dz = scratch.get<Register<T>>(b.conv.K * band + filters + b.conv.K);
    Register<T>*of_weight = dz + b.conv.K * band, *of_bias = of_weight + filters;
    std::fill_n(of_weight, filters + b.conv.K, Register<T>{});
    const bool wants_dx = passes_gradient(i);
    Register<T>* to = buffers.other_than(dy);
    const Register<T>* x = dweight != nullptr ? input_again(i, unit, to, buffers, dy) : nullptr;
    Register<T>* dx = buffers.other_than(dy, x);
    const Correlation forward = forward_correlation(b.conv).band(rows, plane, band),
                      backward = backward_correlation(b.conv).band(rows, band, plane);
    for (std::int64_t p = 0; p < b.after.pooled_height(); ++p) {
      epilogue.spread_band(dz, dy, p);
      if (dweight != nullptr) add_pixel_weight_gradients<T>(of_weight, dz, x + p * band, forward);
      for (std::int64_t k = 0; dbias != nullptr && k < b.conv.K; ++k) {
        for (std::int64_t s = 0; s < band; ++s) of_bias[k] += dz[k * band + s];
      }
      if (wants_dx) correlate<T>(dx + p * band, dz, weights_ + weight_offsets_[i], nullptr, backward);
    }
    if (dweight != nullptr)
      sum_lanes<T>(dweight, filters, count, [=](std::int64_t f) EK_INLINE_LAMBDA { return of_weight[f]; });
    if (dbias != nullptr)
      sum_lanes<T>(dbias, b.conv.K, count, [=](std::int64_t k) EK_INLINE_LAMBDA { return of_bias[k]; });
    return pass_on(i, unit, wants_dx ? dx : nullptr, a);
  }

  /// The gradient of block i's input, where a block before it wants it; of the first, it is stored.
  Register<T>* pass_on(std::int64_t i, std::int64_t unit, Register<T>* dx,
                       const FusedRunBackwardArgs<T>& a) const {
    if (i > 0) return dx;
    if (a.dx.at != nullptr) store(a.dx, dx, unit, blocks_[0].elements_of_x());
    return nullptr;
  }

  void bias_gradient(T* dbias, const Register<T>* dz, const RunBlock<T>& b, std::int64_t count) const {
    const std::int64_t pixels = b.conv.P * b.conv.Q;
    sum_lanes<T>(dbias, b.conv.K, count, [=](std::int64_t k) EK_INLINE_LAMBDA {
      Register<T> sum = {};
      for (std::int64_t s = 0; s < pixels; ++s) sum += dz[k * pixels + s];
      return sum;
    });
  }

  /// The rows of a table, `size` numbers each and `stride` apart, added into the first as a binary tree.
  void add_rows(T* table, std::int64_t stride, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t step = 1; step < rows_; step *= 2) {
      for (std::int64_t r = 0; r + step < rows_; r += 2 * step) {
        T *to = table + r * stride, *from = to + step * stride;
        for (std::int64_t k = begin; k < end; ++k) to[k] += from[k];
      }
    }
  }

  T* means() const { return sums_ + rows_ * 2 * channels_; }

  /// The means over the batch of gamma d xhat and gamma d, [C][2], and with them dgamma and dbeta.
  void merge_channel_sums(std::int64_t i) {
    const Epilogue<T>& e = blocks_[i].after;
    std::fill(sums_ + units_of<T>(N_) * 2 * channels_, sums_ + rows_ * 2 * channels_, T(0));
    add_rows(sums_, 2 * channels_, 0, 2 * e.C);
    const double count = static_cast<double>(N_) * e.H * e.W;
    for (std::int64_t c = 0; c < e.C; ++c) {
      const double gamma = e.block.gamma != nullptr ? static_cast<double>(e.block.gamma[c]) : 1;
      for (int k = 0; k < 2; ++k)
        means()[2 * c + k] = static_cast<T>(gamma * static_cast<double>(sums_[k * e.C + c]) / count);
    }
    // They are whole: the row of the first unit has them, the others 0.
    for (int which = 2; which < 4; ++which) {
      for (std::int64_t unit = 0; unit < units_of<T>(N_); ++unit) {
        T* to = partial(i, which, unit);
        for (std::int64_t c = 0; to != nullptr && c < e.C; ++c)
          to[c] = unit == 0 ? sums_[(which - 2) * e.C + c] : T(0);
      }
    }
  }

  void add_partials() const {
    constexpr std::int64_t kOfTask = 1024;
    const std::int64_t tasks = (row_ + kOfTask - 1) / kOfTask;
    parallel_for(tasks, kOfTask * rows_ / 4, [&](std::int64_t task) {
      add_rows(partials_, row_, task * kOfTask, std::min(row_, (task + 1) * kOfTask));
    });
    for (const Parameter& p : parameters_) {
      if (p.out != nullptr) std::copy_n(partials_ + p.at, p.size, p.out);
    }
  }

  const RunBlock<T>* blocks_;
  std::int64_t count_, N_;
  RunImages<const T> x_;
  RunLayout<T> layout_;
  std::byte* saved_ = nullptr;
  bool keeps_all_ = false;
  std::int64_t most_ = 0;                         // elements of the largest step
  const T* weights_ = nullptr;                    // packed for the direction
  const std::int64_t* weight_offsets_ = nullptr;  // of each block

  std::int64_t first_wanted_ = 0;  // the first block that has a gradient to make
  bool wants_dx_ = false;
  std::vector<Parameter> parameters_;
  std::int64_t row_ = 0, rows_ = 0;
  T* partials_ = nullptr;
  std::int64_t pending_ = 0, channels_ = 0;  // the largest norm that needs the batch
  Register<T>* gradients_ = nullptr;         // [units][pending_]: of its output
  T* sums_ = nullptr;                        // [rows][2][channels], then means()
};

}  // namespace

template <typename T>
void fused_run_forward(const FusedRunForwardArgs<T>& a) {
  Run<T>(a.blocks, a.count, a.N, a.x, a.saved).forward(a.y);
}

template <typename T>
void fused_run_backward(const FusedRunBackwardArgs<T>& a) {
  Run<T>(a.blocks, a.count, a.N, a.x, const_cast<std::byte*>(a.saved)).backward(a);
}

template void fused_run_forward(const FusedRunForwardArgs<float>&);
template void fused_run_forward(const FusedRunForwardArgs<double>&);
template void fused_run_backward(const FusedRunBackwardArgs<float>&);
template void fused_run_backward(const FusedRunBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
