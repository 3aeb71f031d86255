// Rows of whole training steps: a batch from u8 images, the network forward and backward, SGD, running
// totals.
#include <cstring>
#include <memory>

#include "bench/op_rows.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/optim.h"

namespace evenkeel::bench {
namespace {

constexpr double kFlopsOfImage = 2 * 2296140.0;  // forward and backward

/// A step that leaves the weights as they are, with a learning rate of 0, and has the same dropout masks
/// every time, so that every call computes the same.
class Step {
 public:
  Step(mnist::Norm norm, TensorOptions options, Tensor images, Tensor labels)
      : net_(network(norm, options)),
        sgd_(net_.parameters(), {.lr = 0, .momentum = 0.9, .l1 = norm == mnist::Norm::bn ? 1e-5 : 0}),
        images_(std::move(images)),
        labels_(std::move(labels)),
        index_(arange(0, labels_.size(0)).to(options.device)),
        angles_(zeros({labels_.size(0)}, {DType::f32, options.device})),
        totals_(zeros({2}, {DType::f64, options.device})),
        options_(options) {}

  /// The mean loss.
  Tensor operator()() {
    manual_seed(2);
    const Tensor x = rotate_normalize(images_, index_, angles_, kMean, kStd).to(options_.dtype);
    sgd_.zero_grad();
    const Tensor log_probs = net_(x), loss = nll_loss(log_probs, labels_);
    loss.backward();
    sgd_.step();
    add_classification_totals(totals_, log_probs, labels_, loss);
    return loss.detach();
  }

 private:
  static nn::Sequential network(mnist::Norm norm, TensorOptions options) {
    manual_seed(1);
    nn::Sequential net = mnist::network(norm);
    net.to(options.dtype);
    net.to(options.device);
    return net;
  }

  nn::Sequential net_;
  optim::SGD sgd_;
  Tensor images_, labels_, index_, angles_, totals_;
  TensorOptions options_;
};

/// The tensor's only element into memory of its device.
void copy_scalar(float* to, const Tensor& from) {
  if constexpr (kCudaEnabled) {
    if (from.device().is_cuda())
      return cuda::copy_on_device(to, from.data<float>(), sizeof(float), from.device().index);
  }
  std::memcpy(to, from.data<float>(), sizeof(float));
}

/// The values, all of which are integers.
Tensor integers_of(const Array& values, const Shape& shape, DType dtype) {
  std::vector<std::int64_t> all;
  for (const double value : values.values) all.push_back(static_cast<std::int64_t>(value));
  return from_vector(all, shape).to(dtype);
}

Row step_row(const Kind& kind, const Shape& x, mnist::Norm norm) {
  const std::int64_t N = x[0];
  Row row = make_row("train_step", "step", x, kind, kFlopsOfImage / (28 * 28));
  row.variant = mnist::name_of(norm);
  row.operands = {{"images", Role::input, {N, 28, 28}, DType::u8, integers(256)},
                  {"labels", Role::input, {N}, DType::i64, integers(10)},
                  {"loss", Role::output, {1}, DType::f32, {}}};
  row.bind = [=](DeviceArrays& a) -> Launch {
    const TensorOptions options{DType::f32, a.device()};
    const auto step = std::make_shared<Step>(norm, options, a.tensor("images"), a.tensor("labels"));
    return [step, loss = a.out<float>("loss")] { copy_scalar(loss, (*step)()); };
  };
  row.reference = [=](const Values& in) {
    Step step(norm, {DType::f64, Device::cpu()}, integers_of(in.at("images"), {N, 28, 28}, DType::u8),
              integers_of(in.at("labels"), {N}, DType::i64));
    Array loss({1});
    loss.values[0] = step().item();
    return std::map<std::string, Expected>{{"loss", {std::move(loss), {}}}};
  };
  return row;
}

std::vector<Row> train_step(const Kind& kind, const Shape& x) {
  std::vector<Row> rows;
  if (kind.dtype != DType::f32 || x.rank() != 4 || x[1] != 1 || x[2] != 28 || x[3] != 28) return rows;
  for (const mnist::Norm norm : {mnist::Norm::bn, mnist::Norm::gn, mnist::Norm::ln})
    rows.push_back(step_row(kind, x, norm));
  return rows;
}

}  // namespace

Op train_op() { return op_at("train_step", {{kBatch, 1, 28, 28}}, train_step); }

}  // namespace evenkeel::bench
