#include "evenkeel/core/autograd.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "evenkeel/core/ops.h"
#include "evenkeel/core/overlap.h"

namespace evenkeel {
namespace {

thread_local bool t_grad_enabled = true;

}  // namespace

NoGrad::NoGrad() : before_(t_grad_enabled) { t_grad_enabled = false; }
NoGrad::~NoGrad() { t_grad_enabled = before_; }
bool grad_enabled() { return t_grad_enabled; }

namespace autograd {

Variable::~Variable() {
  // Destroying a sequence of variables through their nodes would recurse once per op: keep the pending ones
  // in a list.
  std::vector<std::shared_ptr<Node>> pending;
  if (node) pending.push_back(std::move(node));
  while (!pending.empty()) {
    const std::shared_ptr<Node> last = std::move(pending.back());
    pending.pop_back();
    if (last.use_count() > 1) continue;
    for (auto& input : last->inputs) {
      const std::shared_ptr<Variable> variable =
          std::move(input.variable);  // one at a time: an input may be there twice
      if (variable && variable.use_count() == 1 && variable->node)
        pending.push_back(std::move(variable->node));
    }
  }
}

bool recording(const std::vector<const Tensor*>& inputs) {
  return t_grad_enabled && std::any_of(inputs.begin(), inputs.end(),
                                       [](const Tensor* x) { return x->defined() && x->requires_grad(); });
}

void record(const char* op, Tensor& output, const std::vector<const Tensor*>& inputs, BackwardFn backward) {
  if (!recording(inputs)) return;
  auto node = std::make_shared<Node>();
  node->op = op;
  node->backward = std::move(backward);
  node->inputs.reserve(inputs.size());
  for (const Tensor* x : inputs) {
    const bool wanted = x->defined() && x->requires_grad();
    node->inputs.push_back(wanted ? NodeInput{x->variable(), x->shape(), x->options()} : NodeInput{});
  }
  if (std::any_of(inputs.begin(), inputs.end(), [&](const Tensor* x) { return x->is_same(output); }))
    output = output.detach();
  auto variable = std::make_shared<Variable>();
  variable->node = std::move(node);
  output.set_variable(std::move(variable));
}

Saved::Saved(const Tensor& x) {
  if (!x.defined()) return;
  tensor_ = x.detach();
  version_ = x.storage().version();
}

const Tensor& Saved::get() const {
  EK_CHECK(!tensor_.defined() || tensor_.storage().version() == version_,
           "backward: a tensor of shape {} that an op saved was changed in place afterwards; change a "
           "clone() instead",
           tensor_.shape().str());
  return tensor_;
}

namespace {

/// All variables that the root was computed from, each after everything that was computed from it.
/// Depth-first, with an explicit stack.
std::vector<Variable*> topological_order(Variable* root) {
  std::vector<Variable*> order;
  std::unordered_set<Variable*> seen{root};
  std::vector<std::pair<Variable*, std::size_t>> stack{{root, 0}};
  while (!stack.empty()) {
    auto& [variable, next] = stack.back();
    const Node* node = variable->node.get();
    if (node == nullptr || next == node->inputs.size()) {
      order.push_back(variable);
      stack.pop_back();
      continue;
    }
    Variable* input = node->inputs[next++].variable.get();
    if (input != nullptr && seen.insert(input).second) stack.emplace_back(input, 0);
  }
  std::reverse(order.begin(), order.end());
  return order;
}

/// The one check of every gradient: that which `op` gives for its input number `input` fits it.
void check_gradient(const char* op, std::size_t input, const Tensor& gradient, const Shape& shape,
                    TensorOptions options) {
  EK_CHECK(gradient.shape() == shape, "backward: {} gave a gradient of shape {} for input {} of shape {}", op,
           gradient.shape().str(), input, shape.str());
  EK_CHECK(gradient.dtype() == options.dtype, "backward: {} gave a {} gradient for input {}, which is {} {}",
           op, name_of(gradient.dtype()), input, name_of(options.dtype), shape.str());
  EK_CHECK(gradient.device() == options.device,
           "backward: {} gave a gradient on {} for input {} of shape {}, which is on {}", op,
           gradient.device().str(), input, shape.str(), options.device.str());
}

/// sum += gradient, without touching memory that another tensor shares.
void accumulate(Tensor& sum, Tensor gradient) {
  if (!sum.defined()) {
    sum = std::move(gradient);
  } else if (sum.storage().reordered() != nullptr) {
    sum = sum + gradient;
  } else if (!sum.exclusive() || !sum.is_contiguous()) {
    Tensor fresh = sum.clone();
    sum = std::move(fresh.add_(gradient));
  } else {
    sum.add_(gradient);
  }
}

/// Runs one node's closure on the gradient of its output and hands the results to its inputs.
void propagate(Node& node, const Tensor& dy, std::unordered_map<Variable*, Tensor>& gradients) {
  EK_CHECK(!node.freed,
           "backward: the graph through {} was freed by an earlier backward; compute the output again",
           node.op);
  EK_CHECK(node.backward != nullptr,
           "backward: {} has no backward; detach() its result if no gradient is wanted", node.op);
  std::vector<Tensor> results = node.backward(dy);
  node.backward = nullptr;
  node.freed = true;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const NodeInput& input = node.inputs[i];
    if (!input.variable) continue;
    EK_CHECK(i < results.size() && results[i].defined(), "backward: {} gave no gradient for input {}",
             node.op, i);
    check_gradient(node.op, i, results[i], input.shape, input.options);
  }
  EK_CHECK(results.size() == node.inputs.size(), "backward: {} gave {} gradients for {} inputs", node.op,
           results.size(), node.inputs.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    Variable* variable = node.inputs[i].variable.get();
    if (variable != nullptr) accumulate(gradients[variable], std::move(results[i]));
  }
}

/// Adds dy to what a leaf has collected.
void collect(Variable& leaf, Tensor dy) {
  if (!leaf.grad.defined()) {
    leaf.grad = dy.exclusive() ? std::move(dy) : dy.clone();
    return;
  }
  const Tensor& so_far = leaf.grad;
  EK_CHECK(so_far.shape() == dy.shape() && so_far.dtype() == dy.dtype() && so_far.device() == dy.device(),
           "backward: a leaf has collected a gradient {} {} on {}, the new one is {} {} on {}; call "
           "zero_grad() after changing a tensor's data",
           name_of(so_far.dtype()), so_far.shape().str(), so_far.device().str(), name_of(dy.dtype()),
           dy.shape().str(), dy.device().str());
  accumulate(leaf.grad, std::move(dy));
}

}  // namespace

void backward(const Tensor& root, const Tensor& gradient) {
  EK_CHECK(root.defined() && root.requires_grad(), "backward: the tensor does not require a gradient");
  EK_CHECK(
      gradient.defined() || root.numel() == 1,
      "backward: a tensor of shape {} needs the gradient to start from; only one element may leave it out",
      root.shape().str());
  EK_CHECK(!gradient.defined() || gradient.shape() == root.shape(),
           "backward: gradient has shape {}, the tensor {}", gradient.shape().str(), root.shape().str());
  if (gradient.defined()) check_same_kind("backward", {&root, &gradient});
  const NoGrad guard;
  std::unordered_map<Variable*, Tensor> gradients;
  gradients[root.variable().get()] = gradient.defined() ? gradient : ones(root.shape(), root.options());
  for (Variable* variable : topological_order(root.variable().get())) {
    auto found = gradients.extract(variable);
    if (found.empty()) continue;
    Tensor dy = std::exchange(found.mapped(), Tensor()).contiguous();
    if (variable->node) {
      propagate(*variable->node, dy, gradients);
    } else if (variable->wanted) {
      collect(*variable, std::move(dy));
    }
  }
}

}  // namespace autograd
}  // namespace evenkeel
