// Compares the library with PyTorch: every op and its gradients, the optimizer, and five training steps of
// the networks of the study. tests/golden/make_golden.py wrote the files; it tells what is in them. Inputs
// are exact in f32 and results are f64, so both dtypes are compared with the same numbers, on every device
// there is. A tensor that a file has and no comparison used fails the test.
#include <algorithm>
#include <functional>

#include "catch.h"
#include "compare.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/nn/layers.h"
#include "evenkeel/nn/optim.h"
#include "golden/golden_file.h"

namespace ek = evenkeel;
using ek::NamedTensors;
using ek::Tensor;
using ek::golden::GoldenFile;
using ek::golden::Tolerances;

namespace {

/// One case of ops.safetensors: "op/case".
class Case {
 public:
  Case(GoldenFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix) + "/") {}

  /// An input; undefined if the case has none of that name. It requires a gradient if the file has one.
  Tensor operator[](const std::string& name) {
    if (!file_.has(prefix_ + name)) return {};
    Tensor t = file_.input(prefix_ + name);
    if (file_.has(prefix_ + "d" + name)) t.requires_grad_();
    inputs_[name] = t;
    return t;
  }
  double option(std::size_t i) const { return file_.numbers(prefix_ + "options").at(i); }
  std::int64_t integer(std::size_t i) const { return static_cast<std::int64_t>(option(i)); }
  ek::Size2d size2d(std::size_t i) const { return {integer(i), integer(i + 1)}; }
  std::vector<int> axes() const {
    if (!file_.has(prefix_ + "options")) return {};
    const auto numbers = file_.numbers(prefix_ + "options");
    return {numbers.begin(), numbers.end()};
  }

  void check(const Tensor& y) {
    file_.expect(prefix_ + "y", y);
    y.backward(file_.input(prefix_ + "dy"));
    for (auto& [name, t] : inputs_) {
      if (t.requires_grad()) file_.expect(prefix_ + "d" + name, t.grad());
      if (file_.has(prefix_ + name + "_after")) file_.expect(prefix_ + name + "_after", t);
    }
  }

 private:
  GoldenFile& file_;
  std::string prefix_;
  std::map<std::string, Tensor> inputs_;
};

ek::Shape last_axes(const Tensor& x, int count) {
  ek::Shape shape;
  for (int i = x.rank() - count; i < x.rank(); ++i) shape.push_back(x.size(i));
  return shape;
}

ek::Reduction reduction(std::int64_t i) {
  return std::vector{ek::Reduction::none, ek::Reduction::mean, ek::Reduction::sum}.at(i);
}

/// Rounding of a few thousand operations, relative to the largest value of a tensor.
constexpr Tolerances kOpTolerances = {.f64 = {1e-12, 0}, .f32 = {1e-5, 0}};
/// Rounding of the whole network, forward, backward and five steps on. The absolute part is for ln-row, whose
/// gradients are zero but for rounding.
constexpr Tolerances kNetworkTolerances = {.f64 = {1e-9, 1e-13}, .f32 = {1e-4, 1e-6}};

/// How the options of each op's cases are meant.
const std::map<std::string, std::function<Tensor(Case&)>> kOps = {
    {"conv2d",
     [](Case& c) {
       return conv2d(
           c["x"], c["weight"], c["bias"],
           {.stride = c.size2d(0), .padding = c.size2d(2), .dilation = c.size2d(4), .groups = c.integer(6)});
     }},
    {"linear", [](Case& c) { return linear(c["x"], c["weight"], c["bias"]); }},
    {"matmul", [](Case& c) { return matmul(c["a"], c["b"]); }},
    {"batch_norm",
     [](Case& c) {
       return batch_norm(c["x"], c["running_mean"], c["running_var"], c["gamma"], c["beta"], c.option(0) != 0,
                         c.option(1), c.option(2));
     }},
    {"group_norm",
     [](Case& c) { return group_norm(c["x"], c.integer(0), c["gamma"], c["beta"], c.option(1)); }},
    {"layer_norm",
     [](Case& c) {
       const Tensor x = c["x"];
       return layer_norm(x, last_axes(x, static_cast<int>(c.integer(0))), c["gamma"], c["beta"], c.option(1));
     }},
    {"rms_norm",
     [](Case& c) {
       const Tensor x = c["x"];
       return rms_norm(x, last_axes(x, static_cast<int>(c.integer(0))), c["gamma"], c.option(1));
     }},
    {"layer_norm2d", [](Case& c) { return layer_norm2d(c["x"], c["gamma"], c["beta"], c.option(0)); }},
    {"relu", [](Case& c) { return relu(c["x"]); }},
    {"max_pool2d",
     [](Case& c) {
       return max_pool2d(c["x"], c.size2d(0), {.stride = c.size2d(2), .padding = c.size2d(4)});
     }},
    {"avg_pool2d",
     [](Case& c) {
       return avg_pool2d(c["x"], c.size2d(0), {.stride = c.size2d(2), .padding = c.size2d(4)});
     }},
    {"global_avg_pool2d", [](Case& c) { return global_avg_pool2d(c["x"]); }},
    {"log_softmax", [](Case& c) { return log_softmax(c["x"], static_cast<int>(c.integer(0))); }},
    {"nll_loss", [](Case& c) { return nll_loss(c["x"], c["target"], reduction(c.integer(0))); }},
    {"cross_entropy", [](Case& c) { return cross_entropy(c["x"], c["target"], reduction(c.integer(0))); }},
    {"sum", [](Case& c) { return sum(c["x"], c.axes()); }},
    {"mean", [](Case& c) { return mean(c["x"], c.axes()); }},
    {"max", [](Case& c) { return max(c["x"], c.axes()); }},
};

ek::optim::SgdOptions sgd_options(const std::vector<double>& o) {
  REQUIRE(o.size() == 6);
  return {.lr = o[0],
          .momentum = o[1],
          .weight_decay = o[2],
          .nesterov = o[3] != 0,
          .l1 = o[4],
          .l1_mode = o[5] != 0 ? ek::optim::L1Mode::proximal : ek::optim::L1Mode::subgradient};
}

/// The proximal step makes exact zeros.
auto zeros(const std::vector<double>& values) { return std::count(values.begin(), values.end(), 0.0); }

}  // namespace

TEST_CASE("ops agree with PyTorch, outputs and gradients") {
  ek::test::for_each_kind([](ek::TensorOptions options) {
    GoldenFile file("ops", options, kOpTolerances);
    std::set<std::string> ops_seen;
    for (const std::string& group : file.groups()) {
      INFO(group);
      const auto op = kOps.find(group.substr(0, group.find('/')));
      REQUIRE(op != kOps.end());
      ops_seen.insert(op->first);
      Case c(file, group);
      c.check(op->second(c));
    }
    CHECK(ops_seen.size() == kOps.size());
    file.check_all_used();
  });
}

TEST_CASE("the optimizer's rules agree with PyTorch") {
  ek::test::for_each_kind([](ek::TensorOptions options) {
    GoldenFile file("sgd", options, kOpTolerances);
    for (const std::string& group : file.groups()) {
      INFO(group);
      const Tensor x = file.input(group + "/x"), target = file.input(group + "/target");
      Tensor weight = file.input(group + "/weight").requires_grad_();
      Tensor bias = file.input(group + "/bias").requires_grad_();
      ek::optim::SGD sgd({weight, bias}, sgd_options(file.numbers(group + "/options")));
      std::vector<double> losses;
      for (std::size_t step = 0; step < file.numbers(group + "/loss").size(); ++step) {
        sgd.zero_grad();
        const Tensor loss = cross_entropy(linear(x, weight, bias), target);
        losses.push_back(loss.item());
        loss.backward();
        sgd.step();
      }
      file.expect_numbers(group + "/loss", losses);
      file.expect(group + "/weight_after", weight.detach());
      file.expect(group + "/bias_after", bias.detach());
      CHECK(zeros(weight.detach().to_vector<double>()) == zeros(file.numbers(group + "/weight_after")));
    }
    file.check_all_used();
  });
}

namespace {

/// Convolution weights from the common file, gamma and beta from the patterns of networks.py.
NamedTensors initial_state(const NamedTensors& defaults, GoldenFile& common) {
  NamedTensors state;
  for (const auto& [name, t] : defaults) {
    if (common.has(name)) {
      state.emplace_back(name, common.stored(name).to(t.dtype()));
    } else if (name.ends_with(".weight")) {
      state.emplace_back(name, ek::golden::pattern_tensor(t.shape(), 37, 0.25, 1).to(t.dtype()));
    } else if (name.ends_with(".bias")) {
      state.emplace_back(name, ek::golden::pattern_tensor(t.shape(), 53, 0.125).to(t.dtype()));
    } else {
      state.emplace_back(name, t);
    }
  }
  return state;
}

/// PyTorch's dropout masks cannot be had here, so dropout alone is put in evaluation mode.
void train_without_dropout(ek::nn::Sequential& net) {
  net.train();
  int found = 0;
  for (std::size_t i = 0; i < net.size(); ++i) {
    if (auto* dropout = dynamic_cast<ek::nn::Dropout*>(&net[i])) {
      dropout->eval();
      ++found;
    }
  }
  REQUIRE(found == 2);
}

void expect_gradients(GoldenFile& file, const std::string& prefix, const NamedTensors& parameters,
                      double widen = 1) {
  for (const auto& [name, p] : parameters) {
    if (p.grad().defined()) file.expect(prefix + name, p.grad(), widen);
  }
}

/// The output of the last block and, from a fixed dy, the gradients there: in ln-row those of the loss
/// The output of the last block and, from a fixed dy, the gradients there: in ln-row those of the loss
/// vanish. ln-row is ill-conditioned: a row that ReLU left nearly constant is scaled by up to 1/sqrt(eps) =
/// 316, five times over, so that PyTorch's own f32 gradients are 2e-3 from its f64 ones (2e-5 for the other
/// norms).
void check_features(GoldenFile& file, ek::nn::Sequential& net, const Tensor& images, bool ill_conditioned) {
  Tensor features = images;
  for (std::size_t i = 0; i + 4 < net.size(); ++i) features = net[i](features);
  file.expect("features", features, ill_conditioned ? 10 : 1);
  features.backward(ek::golden::pattern_tensor(features.shape(), 29).to(images.dtype()).to(images.device()));
  expect_gradients(file, "features_grad/", net.named_parameters(), ill_conditioned ? 100 : 1);
}

void check_network(const std::string& norm, ek::TensorOptions options) {
  GoldenFile common("net_common", options, kNetworkTolerances),
      file("net_" + norm, options, kNetworkTolerances);
  const Tensor images = common.input("images"), labels = common.input("labels");
  const std::vector<double> sgd_numbers = file.numbers("options");
  REQUIRE(sgd_numbers.size() == 3);

  ek::nn::Sequential net = ek::mnist::network(ek::mnist::parse_norm(norm));
  net.load_state_dict(initial_state(net.state_dict(), common));
  net.to(options.dtype);
  net.to(options.device);
  train_without_dropout(net);
  ek::optim::SGD sgd(net.parameters(),
                     {.lr = sgd_numbers[0], .momentum = sgd_numbers[1], .l1 = sgd_numbers[2]});

  check_features(file, net, images, norm == "ln-row" && options.dtype == ek::DType::f32);
  std::vector<double> losses;
  for (std::size_t step = 0; step < file.numbers("loss").size(); ++step) {
    sgd.zero_grad();
    const Tensor log_probs = net(images);
    const Tensor loss = nll_loss(log_probs, labels);
    losses.push_back(loss.item());
    loss.backward();
    if (step == 0) {
      file.expect("log_probs", log_probs);
      expect_gradients(file, "grad/", net.named_parameters());
    }
    sgd.step();
  }
  file.expect_numbers("loss", losses);
  for (const auto& [name, t] : net.state_dict()) file.expect("after/" + name, t);
  net.eval();
  const ek::NoGrad no_grad;
  file.expect("eval_log_probs", net(images));
  file.check_all_used();
  common.check_all_used();
}

}  // namespace

TEST_CASE("the networks of the study agree with PyTorch over five steps") {
  ek::test::for_each_kind([](ek::TensorOptions options) {
    for (const std::string norm : {"bn", "gn", "ln", "ln-c", "ln-row"}) {
      INFO(norm);
      check_network(norm, options);
    }
  });
}
