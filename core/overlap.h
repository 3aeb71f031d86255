// Which elements of tensors share a place in memory: what must be known before anything is written.
#pragma once

#include <initializer_list>

#include "evenkeel/core/tensor.h"

namespace evenkeel {

/// True if two elements of x lie at one place, as those of broadcast views do. Exact for all strides.
bool overlaps_itself(const Tensor& x);

/// True if an element of a lies at the place of an element of b. Exact for tensors of one dtype.
bool share_memory(const Tensor& a, const Tensor& b);

/// The one check of everything that is written: throws Error, naming `op`, if `target` overlaps itself, as
/// the element that is written last would win. Tensor::mutable_data calls it too.
void check_no_overlap(const char* op, const Tensor& target);

/// Throws Error, naming `op`, unless a kernel that knows no strides can write to `target`.
void check_dense_target(const char* op, const Tensor& target);

/// Memory for a kernel that knows no strides and updates `target` in place: target itself if that is dense,
/// else a dense copy, which store() writes back. Undefined for an undefined target.
class DenseTarget {
 public:
  /// Throws Error, naming `op`, if the target overlaps itself.
  DenseTarget(const char* op, const Tensor& target);
  const Tensor& target() const { return target_; }
  Tensor& memory() { return memory_; }
  void store();

 private:
  Tensor target_, memory_;
};

/// The detached input, or a copy of it if a target shares memory with it: so that a kernel which writes the
/// targets reads the input as it was. Undefined tensors share nothing.
Tensor apart_from(const Tensor& input, std::initializer_list<const Tensor*> targets);

}  // namespace evenkeel
