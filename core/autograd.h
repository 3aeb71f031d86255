// Reverse-mode automatic differentiation: what an op records, and the engine that walks it.
//
// An op computes its output and then calls record(): the output remembers the inputs and a closure that maps
// the gradient of the output to the gradients of the inputs. Closures and kernels overwrite; only the engine
// accumulates.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "evenkeel/core/tensor.h"

namespace evenkeel {

/// While one is alive, ops on this thread record nothing.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};
/// False under NoGrad.
bool grad_enabled();

namespace autograd {

/// Maps dy, the gradient of the output, dense, to one gradient per input, of the input's shape, dtype and
/// device, with any strides; undefined where none is needed.
using BackwardFn = std::function<std::vector<Tensor>(const Tensor& dy)>;

/// What an op saw of an input: the gradient must fit it.
struct NodeInput {
  std::shared_ptr<Variable> variable;  // null where no gradient is wanted; the rest is then unused
  Shape shape;
  TensorOptions options;
};

/// One recorded op.
struct Node {
  const char* op;
  std::vector<NodeInput> inputs;
  BackwardFn backward;  // emptied when the graph is freed
  bool freed = false;
};

/// What autograd keeps for a tensor that requires a gradient: a leaf's gradient, or the op that made it.
struct Variable {
  Tensor grad;
  std::shared_ptr<Node> node;  // null for a leaf
  bool wanted = true;          // false for a leaf that collects nothing for now

  Variable() = default;
  ~Variable();  // takes long graphs apart without recursion
};

/// True if the result of an op on these inputs must be recorded.
bool recording(const std::vector<const Tensor*>& inputs);

/// Makes `output` the result of `op` on `inputs`. Does nothing unless recording(inputs). An empty `backward`
/// marks an op that has none: using its result is fine, calling backward through it throws. An op that hands
/// an input on as its output gets another handle of the same data in `output`: the input keeps its history.
void record(const char* op, Tensor& output, const std::vector<const Tensor*>& inputs, BackwardFn backward);

/// A tensor kept for backward: no history, and get() throws Error if its memory was changed since.
class Saved {
 public:
  Saved(const Tensor& x);  // NOLINT: implicit, so that closures capture with [x = Saved(x)]
  /// Keeps x only if backward will need it: else its memory goes, and changing it is no error.
  Saved(const Tensor& x, bool needed) : Saved(needed ? x : Tensor()) {}
  const Tensor& get() const;
  const Tensor& operator*() const { return get(); }

 private:
  Tensor tensor_;
  std::uint64_t version_ = 0;
};

/// The engine behind Tensor::backward: visits recorded ops in reverse topological order, without recursion,
/// and frees them. Throws Error if the graph was freed before, and if an op returns a gradient whose shape,
/// dtype or device is not that of its input, before anything is made of it.
void backward(const Tensor& root, const Tensor& gradient);

}  // namespace autograd
}  // namespace evenkeel
