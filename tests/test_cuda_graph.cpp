// CUDA graphs: what a launch does, what stays where it is, and what cannot be recorded. Skipped without a
// device.
#include <memory>
#include <stdexcept>

#include "compare.h"
#include "cuda_device.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/stream_guard.h"
#include "evenkeel/nn/functional.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

Tensor on_cuda(const std::vector<float>& values) { return tensor(values).to(kCuda); }

}  // namespace

TEST_CASE("a graph runs when it is launched, on the values of that moment") {
  if (skipped()) return;
  Tensor x = on_cuda({1, 2, 3}), sum_of_all = zeros({}, {DType::f32, kCuda}), y;
  CHECK_FALSE(is_capturing(kCuda));
  const CudaGraph graph(0, [&] {
    CHECK(is_capturing(kCuda));
    CHECK_FALSE(is_capturing(Device::cpu()));
    y = x * x + 1.0;  // with memory that is freed in between and used again
    sum_of_all.add_(sum(y));
  });
  CHECK_FALSE(is_capturing(kCuda));
  CHECK(graph.kernel_nodes() > 0);
  CHECK(graph.nodes() >= graph.kernel_nodes());
  CHECK(sum_of_all.item() == 0);
  graph.launch();
  CHECK(same_bits(y, on_cuda({2, 5, 10})));
  CHECK(sum_of_all.item() == 17);
  x.copy_(tensor({0, -1, 4}));
  graph.launch();
  graph.launch();
  CHECK(same_bits(y, on_cuda({1, 2, 17})));
  CHECK(sum_of_all.item() == 17 + 20 + 20);
  const CudaStream other;
  synchronize(kCuda);
  const StreamGuard guard(other);
  graph.launch();
  CHECK(sum_of_all.item() == 17 + 20 + 20 + 20);
}

TEST_CASE("a graph has as many kernels as its ops launch") {
  if (skipped()) return;
  Tensor x = on_cuda({1, 2, 3});
  CHECK(CudaGraph(0, [] {}).nodes() == 0);
  const auto graph = std::make_unique<CudaGraph>(0, [&] { x.add_(x.clone()); });  // a copy and an axpy
  CHECK(graph->kernel_nodes() == 2);
  CudaGraph(0, [] {}).launch();
}

TEST_CASE("the memory of a graph is its own until it is gone") {
  if (skipped()) return;
  Random random;
  const Tensor x = random.normal({64, 64}, {DType::f32, kCuda});
  const Tensor expected = matmul(x, x) + x;
  Tensor y;
  auto graph = std::make_unique<CudaGraph>(0, [&] { y = matmul(x, x) + x; });
  // Takes whatever memory of these sizes is to be had. The executor gives back all that is cached when that
  // passes a megabyte.
  const auto take_memory = [] {
    empty({1 << 19}, {DType::f32, kCuda});
    std::vector<Tensor> others;
    for (int i = 0; i < 4; ++i) others.push_back(full({64, 64}, 7, {DType::f32, kCuda}));
    return others;
  };
  for (int i = 0; i < 2; ++i) {
    const std::vector<Tensor> others = take_memory();
    graph->launch();
    CHECK(same_bits(y, expected));
    for (const Tensor& other : others) CHECK(same_bits(other.to(Device::cpu()), full({64, 64}, 7)));
  }
  const MemoryStats with = memory_stats(kCuda);
  graph.reset();
  take_memory();
  CHECK(same_bits(y, expected));  // a tensor that is kept is kept
  y = Tensor();
  CHECK(memory_stats(kCuda).bytes_in_use <= with.bytes_in_use - 64 * 64 * 4);
}

TEST_CASE("scratch memory that grows after the recording does not move the graph's") {
  if (skipped()) return;
  Random random;
  const TensorOptions options{DType::f32, kCuda};
  // A sum of more than 65,536 elements is in parts, in scratch memory: 2 of them, then 40.
  const Tensor x = random.normal({100000}, options), more = random.normal({2600000}, options);
  const double expected = sum(x).item();
  Tensor y, z;
  const CudaGraph graph(0, [&] {
    y = sum(x);
    z = sum(more);
    y = sum(x);
  });
  sum(more).item();
  graph.launch();
  CHECK(y.item() == expected);
  CHECK(z.item() == sum(more).item());
}

TEST_CASE("what a graph cannot hold is refused in one sentence, and nothing is left of the attempt") {
  if (skipped()) return;
  Tensor x = on_cuda({1, 2, 3});
  const auto recording = [&](const std::function<void()>& body) {
    return error_of([&] { CudaGraph(0, body); });
  };
  const std::vector<std::string> words = {"is not possible while a CUDA graph is recorded", "after a launch"};
  const auto refused = [&](const std::function<void()>& body, const std::string& what) {
    const std::string message = recording(body);
    CHECK(mentions(message, words));
    CHECK(mentions(message, {what}));
    CHECK_FALSE(is_capturing(kCuda));
    CHECK(same_bits(x + x, on_cuda({2, 4, 6})));
  };
  refused([&] { sum(x).item(); }, "reading a value");
  refused([&] { x.to_vector<float>(); }, "reading a value");
  refused([&] { x.to(Device::cpu()); }, "reading a value");
  refused([&] { on_cuda({1}); }, "copying from the host");
  refused([&] { synchronize(kCuda); }, "waiting for the device");
  const CudaGraph other(0, [&] { x.clone(); });
  refused([&] { other.launch(); }, "launching a CUDA graph");
  CHECK(mentions(recording([] { CudaGraph(0, [] {}); }), {"another one is being recorded"}));
  CHECK(mentions(recording([&] { x + on_cuda({1, 2}); }), {"copying from the host"}));
  CHECK(recording([] { fail("of the body"); }) == "of the body");
}

TEST_CASE("gradients can be recorded") {
  if (skipped()) return;
  Random random;
  const TensorOptions options{DType::f32, kCuda};
  const Tensor images = random.normal({2, 3, 8, 8}, options);
  Tensor x = images.clone(), weight = leaf(random.normal({4, 3, 3, 3}, options));
  Tensor dw;
  const CudaGraph graph(0, [&] {
    weight.zero_grad();
    sum(relu(conv2d(x, weight))).backward();
    dw = weight.grad();
  });
  for (const double scale : {1.0, -2.0}) {
    x.copy_(images * scale);
    graph.launch();
    const Tensor again = leaf(weight.detach());
    sum(relu(conv2d(x, again))).backward();
    CHECK(same_bits(dw, again.grad()));
  }
}
