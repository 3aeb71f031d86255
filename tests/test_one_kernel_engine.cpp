// Training inside one kernel against training layer by layer on the CPU. Skipped without a device.
#include "one_kernel_engine.h"

#include <cmath>

#include "compare.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/nn/layers.h"
#include "layers_engine.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

struct NetCase {
  mnist::Norm norm;
  std::int64_t images = 37, batch = 4;  // ten batches, the last of one image
  int most_blocks = 4;
  std::uint64_t seed = 3;
  optim::SgdOptions sgd = {.lr = 0.01, .momentum = 0.9, .l1 = 1e-5};
  std::int64_t groups = 2;
};

data::Dataset random_images(std::int64_t count) {
  Random random(7);
  return {random.uniform({count, 28, 28}, {}, 0, 256).to(DType::u8), random.labels(count, 10, Device::cpu()),
          0.1307, 0.3081};
}

app::RunOptions options_of(const NetCase& c, Device device) {
  app::RunOptions o;
  o.norm = c.norm;
  o.groups = c.groups;
  o.batch_size = c.batch;
  o.sgd = c.sgd;
  o.seed = c.seed;
  o.device = device;
  return o;
}

/// A run of the case on a device, before its first step.
struct Training : app::Run {
  Training(const NetCase& c, Device device)
      : Run(options_of(c, device), random_images(c.images).to(device), {}) {}

  /// Parameters, buffers, momentum buffers and totals, copied to the CPU.
  NamedTensors state() const {
    NamedTensors all = net.state_dict();
    for (const auto& [name, tensor] : sgd.state_dict()) all.emplace_back("sgd." + name, tensor);
    all.emplace_back("totals", totals.sums());
    for (auto& [name, tensor] : all) tensor = tensor.to(Device::cpu()).clone();
    return all;
  }
};

NamedTensors layer_by_layer(const NetCase& c, std::int64_t steps) {
  Training t(c, Device::cpu());
  for (std::int64_t step = 0; step < steps; ++step) app::training_step(t, t.batches.get(step));
  return t.state();
}

/// Trains in one kernel, in launches that end after the steps given.
NamedTensors in_one_kernel(const NetCase& c, const std::vector<std::int64_t>& ends) {
  Training t(c, Device::cuda());
  app::OneKernelEngine engine({&t}, c.most_blocks);
  const bool has_clusters = cuda_device_properties(0).compute_major >= 9;
  CHECK(engine.cluster() == (has_clusters && c.most_blocks >= 2 * c.batch ? 2 : 1));
  std::int64_t step = 0;
  for (const std::int64_t end : ends) {
    engine.train(step, end);
    step = end;
  }
  CHECK(t.generator.count() - 2 * static_cast<std::uint64_t>(step) ==
        Training(c, Device::cuda()).generator.count());
  return t.state();
}

/// Compares element by element. Where a network cannot learn, gradients are what rounding leaves of 0, and
/// which of its outputs is the largest is up to rounding.
void check_close(const NamedTensors& actual, const NamedTensors& expected, const NetCase& c) {
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto& [name, tensor] = expected[i];
    INFO(name);
    CHECK(actual[i].first == name);
    if (!mnist::can_learn(c.norm) && name == "totals") continue;
    const bool of_rounding =
        !mnist::can_learn(c.norm) && (name.starts_with("sgd.") || name.ends_with("bias"));
    CHECK(close(actual[i].second, to_array(tensor), 1e-4, of_rounding ? 1e-2 : 0));
  }
}

/// The distance of tensors by Euclid's norm.
struct Distance {
  double difference = 0, norm = 0;  // squared

  void add(const Tensor& actual, const Tensor& expected) {
    const std::vector<double> a = actual.to_vector<double>(), b = expected.to_vector<double>();
    REQUIRE(a.size() == b.size());
    for (std::size_t j = 0; j < b.size(); ++j) {
      difference += (a[j] - b[j]) * (a[j] - b[j]);
      norm += b[j] * b[j];
    }
  }
  bool is_small() const { return std::sqrt(difference) <= 1e-4 * std::sqrt(norm); }
};

/// Tensor by tensor. Where the four channels of a pixel are nearly the same, layer norm over C enlarges
/// rounding up to 1 / sqrt(eps) times, in single elements.
void check_close_in_norm(const NamedTensors& actual, const NamedTensors& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(expected[i].first);
    Distance distance;
    distance.add(actual[i].second, expected[i].second);
    CHECK(distance.is_small());
  }
}

/// All parameters and buffers of a network together: in many steps rounding decides about a ReLU or the
/// largest of a window here and there, whose elements then are others.
void check_near(const NamedTensors& actual, const NamedTensors& expected) {
  Distance distance;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].first.starts_with("sgd.") || expected[i].first == "totals") continue;
    distance.add(actual[i].second, expected[i].second);
  }
  CHECK(distance.is_small());
}

bool has_device() {
  if (cuda_devices().count == 0) WARN("no CUDA device: " << cuda_devices().reason);
  return cuda_devices().count > 0;
}

}  // namespace

TEST_CASE(
    "some steps leave the weights of the layers on the CPU, and the same bits for any number of blocks") {
  if (!has_device()) return;
  for (const std::string_view name : mnist::norm_names()) {
    INFO(name);
    NetCase c{mnist::parse_norm(name)};
    if (!mnist::can_learn(c.norm)) c.sgd.l1 = 0;  // whose sign would be that of rounding
    const bool enlarges_rounding = c.norm == mnist::Norm::ln_c;
    constexpr std::int64_t kMany = 2;
    const NamedTensors after_one = layer_by_layer(c, 1), after_many = layer_by_layer(c, kMany);
    // Two blocks an image; one; fewer blocks than images, which batch norm then keeps in memory; one block.
    for (const int most_blocks : {8, 4, 2, 1}) {
      INFO(most_blocks << " blocks");
      c.most_blocks = most_blocks;
      const NamedTensors actual = in_one_kernel(c, {1});
      if (enlarges_rounding)
        check_close_in_norm(actual, after_one);
      else
        check_close(actual, after_one, c);
    }
    const NamedTensors actual = in_one_kernel(c, {kMany});
    check_near(actual, after_many);
    c.most_blocks = 8;
    check_same(in_one_kernel(c, {kMany}), actual);
  }
}

TEST_CASE("batches of 64 and 32 images") {
  if (!has_device()) return;
  // With the norm that needs other images; the others do for each what they do in a batch of four.
  const NetCase c{.norm = mnist::Norm::bn, .images = 96, .batch = 64};
  check_close(in_one_kernel(c, {2}), layer_by_layer(c, 2), c);
}

TEST_CASE("rules of SGD, groups, and launches that end within an epoch") {
  if (!has_device()) return;
  NetCase c{.norm = mnist::Norm::gn, .images = 10};
  for (const optim::SgdOptions& sgd :
       {optim::SgdOptions{.lr = 0.01},
        optim::SgdOptions{.lr = 0.01, .momentum = 0.5, .weight_decay = 1e-3, .nesterov = true},
        optim::SgdOptions{.lr = 0.01, .momentum = 0.9, .l1 = 1e-2, .l1_mode = optim::L1Mode::proximal}}) {
    c.sgd = sgd;
    check_close(in_one_kernel(c, {1, 3}), layer_by_layer(c, 3), c);
  }
  c.groups = 1;
  check_close(in_one_kernel(c, {3}), layer_by_layer(c, 3), c);
  for (const mnist::Norm norm : {mnist::Norm::bn, mnist::Norm::ln}) {
    c.norm = norm;
    check_same(in_one_kernel(c, {1, 3}), in_one_kernel(c, {3}));
  }
}

TEST_CASE("networks that are trained together are those trained alone") {
  if (!has_device()) return;
  for (const mnist::Norm norm : {mnist::Norm::bn, mnist::Norm::gn}) {
    for (const int most_blocks : {1, 2, 4}) {
      INFO(mnist::name_of(norm) << " by " << most_blocks << " blocks");
      NetCase one{.norm = norm, .images = 3, .batch = 2, .most_blocks = most_blocks}, other = one;
      other.seed = 4;
      other.sgd.lr = 0.1;
      Training a(one, Device::cuda()), b(other, Device::cuda());
      app::OneKernelEngine engine({&a, &b}, most_blocks);
      engine.train(0, 2);
      check_same(a.state(), in_one_kernel(one, {2}));
      check_same(b.state(), in_one_kernel(other, {2}));
      CHECK(engine.loss_of(0).item() != engine.loss_of(1).item());
    }
  }
}

TEST_CASE("what cannot be trained in one kernel is refused") {
  if (!has_device()) return;
  nn::Sequential small{nn::Conv2d(1, 4, 3, {.bias = false}), nn::ReLU()};
  small.to(Device::cuda());
  CHECK(mentions(app::OneKernelEngine::why_not(small), {"network"}));
  mnist::BlockNorms norms = mnist::norms_of_recipe(mnist::Norm::gn);
  norms[0].before_relu = true;
  nn::Sequential elsewhere = mnist::network(norms, 2);
  elsewhere.to(Device::cuda());
  CHECK(mentions(app::OneKernelEngine::why_not(elsewhere), {"network"}));
  nn::Sequential on_cpu = mnist::network(mnist::Norm::gn);
  CHECK(mentions(app::OneKernelEngine::why_not(on_cpu), {"CUDA"}));
  on_cpu.to(Device::cuda());
  CHECK(app::OneKernelEngine::why_not(on_cpu).empty());
  Training gn({mnist::Norm::gn}, Device::cuda()), bn({mnist::Norm::bn}, Device::cuda());
  CHECK(mentions(error_of([&] { app::OneKernelEngine({&gn, &bn}, 1); }), {"one norm"}));
  CHECK(mentions(error_of([&] { app::OneKernelEngine({&gn}, 0); }), {"at least 1"}));
  CHECK(mentions(error_of([] { app::OneKernelEngine({}, 1); }), {"no network"}));
  gn.net = small;
  CHECK(mentions(error_of([&] { app::OneKernelEngine({&gn}, 1); }), {"OneKernelEngine", "network"}));
}
