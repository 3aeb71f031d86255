#include "evenkeel/core/overlap.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

struct Axis {
  std::int64_t stride, size;
};

/// The axes of more than one element, by stride.
std::vector<Axis> axes_of(const Tensor& x) {
  std::vector<Axis> axes;
  for (int d = 0; d < x.rank(); ++d) {
    if (x.shape()[d] != 1) axes.push_back({x.strides()[d], x.shape()[d]});
  }
  std::sort(axes.begin(), axes.end(), [](Axis a, Axis b) { return a.stride < b.stride; });
  return axes;
}

/// The distance between the first place and the last.
std::int64_t reach_of(const std::vector<Axis>& axes) {
  std::int64_t reach = 0;
  for (Axis axis : axes) reach += axis.stride * (axis.size - 1);
  return reach;
}

/// Calls visit(place) for every element of a tensor that starts at `at`, until one returns true; then it
/// does.
template <typename F>
bool any_place(std::int64_t at, const Axis* axis, const Axis* end, const F& visit) {
  if (axis == end) return visit(static_cast<std::size_t>(at));
  for (std::int64_t i = 0; i < axis->size; ++i) {
    if (any_place(at + i * axis->stride, axis + 1, end, visit)) return true;
  }
  return false;
}

}  // namespace

bool overlaps_itself(const Tensor& x) {
  if (x.is_contiguous()) return false;
  const std::vector<Axis> axes = axes_of(x);
  if (axes.front().stride == 0) return true;
  std::int64_t reach = 0;
  bool nested = true;  // every axis steps over all that the axes before it reach
  for (Axis axis : axes) {
    nested = nested && axis.stride > reach;
    reach += axis.stride * (axis.size - 1);
  }
  if (nested) return false;
  if (x.numel() > reach + 1) return true;
  std::vector<bool> marked(static_cast<std::size_t>(reach + 1));
  return any_place(0, axes.data(), axes.data() + axes.size(), [&](std::size_t place) {
    const bool before = marked[place];
    marked[place] = true;
    return before;
  });
}

bool share_memory(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined() || !(a.storage() == b.storage())) return false;
  if (a.numel() == 0 || b.numel() == 0) return false;
  if (a.dtype() != b.dtype()) return true;
  std::vector<Axis> of_a = axes_of(a), of_b = axes_of(b);
  const std::int64_t begin = std::max(a.offset(), b.offset());
  const std::int64_t last_a = a.offset() + reach_of(of_a), last_b = b.offset() + reach_of(of_b);
  if (begin > std::min(last_a, last_b)) return false;
  if (a.is_contiguous() && b.is_contiguous()) return true;
  std::erase_if(of_a, [](Axis axis) { return axis.stride == 0; });
  std::erase_if(of_b, [](Axis axis) { return axis.stride == 0; });
  const std::int64_t first = std::min(a.offset(), b.offset());
  std::vector<bool> marked(static_cast<std::size_t>(std::max(last_a, last_b) - first + 1));
  any_place(a.offset() - first, of_a.data(), of_a.data() + of_a.size(), [&](std::size_t place) {
    marked[place] = true;
    return false;
  });
  return any_place(b.offset() - first, of_b.data(), of_b.data() + of_b.size(),
                   [&](std::size_t place) { return marked[place]; });
}

void check_no_overlap(const char* op, const Tensor& target) {
  EK_CHECK(
      !overlaps_itself(target),
      "{}: elements of the tensor of shape {} share a place in memory (strides {}), so writing to it would "
      "lose values; write to a clone()",
      op, target.shape().str(), target.strides().str());
}

void check_dense_target(const char* op, const Tensor& target) {
  EK_CHECK(target.is_contiguous(),
           "{}: the tensor of shape {} that is to be written has strides {}, it must be dense; use a clone()",
           op, target.shape().str(), target.strides().str());
}

DenseTarget::DenseTarget(const char* op, const Tensor& target) {
  if (!target.defined()) return;
  check_no_overlap(op, target);
  target_ = target.detach();
  memory_ = target_.contiguous();
}

void DenseTarget::store() {
  if (target_.defined() && !(memory_.storage() == target_.storage())) target_.copy_(memory_);
}

Tensor apart_from(const Tensor& input, std::initializer_list<const Tensor*> targets) {
  if (!input.defined()) return input;
  const Tensor x = input.detach();
  const bool shared = std::any_of(targets.begin(), targets.end(),
                                  [&](const Tensor* target) { return share_memory(x, *target); });
  return shared ? x.clone() : x;
}

}  // namespace evenkeel
