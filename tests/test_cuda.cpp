// The CUDA runtime layer: placing tensors, streams, memory, page-locked buffers, errors. Skipped without a
// device.
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/stream_guard.h"

#include <cstring>

#include "bench/barriers.h"
#include "compare.h"
#include "cuda_device.h"
#include "evenkeel/core/ops.h"

using namespace evenkeel;
using namespace evenkeel::test;

TEST_CASE("the search for CUDA devices finds some or says why not") {
  const CudaDevices& devices = cuda_devices();
  CHECK((devices.count > 0) == devices.reason.empty());
  CHECK(Device::best() == (devices.count > 0 ? kCuda : Device::cpu()));
  const std::string message = error_of([&] { zeros({2}, {DType::f32, Device::cuda(devices.count)}); });
  CHECK(mentions(message, {Device::cuda(devices.count).str(), "not available"}));
  if (devices.count == 0) CHECK(mentions(message, {devices.reason}));
}

TEST_CASE("tensors move to the device and back, whatever their strides and dtype") {
  if (skipped()) return;
  for (const DType dtype : {DType::f32, DType::f64, DType::i64, DType::u8}) {
    INFO(name_of(dtype));
    const Tensor x = arange(0, 60).reshape({3, 4, 5}).to(dtype);
    const Tensor on_device = x.to(kCuda);
    CHECK(on_device.device() == kCuda);
    CHECK(same_bits(on_device.to(Device::cpu()), x));
    CHECK(same_bits(on_device.transpose(0, 2).to(Device::cpu()), x.transpose(0, 2)));
    CHECK(same_bits(x.slice(1, 1, 4, 2).to(kCuda).to(Device::cpu()), x.slice(1, 1, 4, 2)));
  }
  CHECK(zeros({0, 3}).to(kCuda).to(Device::cpu()).shape() == Shape{0, 3});
}

TEST_CASE("gradients flow through copies between devices") {
  if (skipped()) return;
  const Tensor x = tensor({1, 2, 3}).requires_grad_();
  sum(x.to(kCuda) * 2.0).backward();
  CHECK(x.grad().device().is_cpu());
  CHECK(same_bits(x.grad(), tensor({2, 2, 2})));
}

TEST_CASE("ops refuse tensors on different devices") {
  if (skipped()) return;
  CHECK(mentions(error_of([] { zeros({2}) + zeros({2}, {DType::f32, kCuda}); }), {"cpu", kCuda.str()}));
}

TEST_CASE("memory of the device is cached by size and counted") {
  if (skipped()) return;
  const TensorOptions options{DType::f32, kCuda};
  const MemoryStats before = memory_stats(kCuda);
  const auto fresh = [&] { return memory_stats(kCuda).system_allocations - before.system_allocations; };
  {
    const Tensor x = empty({12345}, options);
    CHECK(memory_stats(kCuda).bytes_in_use - before.bytes_in_use >= 12345 * 4);
    CHECK(memory_stats(kCuda).bytes_in_use - before.bytes_in_use < 12345 * 4 + 512);
    CHECK(memory_stats(kCuda).bytes_peak >= memory_stats(kCuda).bytes_in_use);
    CHECK(fresh() == 1);
  }
  CHECK(memory_stats(kCuda).bytes_in_use == before.bytes_in_use);
#ifndef EVENKEEL_SANITIZED
  CHECK(memory_stats(kCuda).bytes_cached - before.bytes_cached >= 12345 * 4);
  const Tensor again = empty({12345}, options);
  CHECK(fresh() == 1);
  const CudaStream other;
  const StreamGuard guard(other);
  const Tensor elsewhere = empty({12345}, options);
  CHECK(fresh() == 2);  // what is cached belongs to the other stream, where it may still be read
#endif
}

TEST_CASE("memory that is not there is an error that says how much was asked for") {
  if (skipped()) return;
  const std::int64_t elements = std::int64_t{1} << 45;
  const std::string message = error_of([&] { empty({elements}, {DType::f32, kCuda}); });
  CHECK(mentions(message, {"out of memory", std::to_string(4 * elements)}));
  CHECK(same_bits(ones({3}, {DType::f32, kCuda}).to(Device::cpu()), ones({3})));
}

TEST_CASE("ops run on the stream that a guard names") {
  if (skipped()) return;
  const Stream usual = current_stream(0);
  const CudaStream stream;
  {
    const StreamGuard guard(stream);
    CHECK(current_stream(0) == stream.get());
    const Tensor x = full({1000}, 3, {DType::f32, kCuda});
    CHECK(sum(x * x).item() == 9000);
  }
  CHECK(current_stream(0) == usual);
}

TEST_CASE("blocks that wait for each other count every barrier") {
  if (skipped()) return;
  constexpr int kBlocks = 8, kBarriers = 3;
  const Tensor arrivals = zeros({1}, {DType::f32, kCuda});  // whose bits are 0
  auto* const counter = reinterpret_cast<unsigned*>(arrivals.storage().data());
  for (unsigned launches = 1; launches <= 2; ++launches) {
    const bench::BarriersArgs args{.arrivals = counter, .blocks = kBlocks, .count = kBarriers};
    bench::grid_group_barriers(args, current_stream(0));
    bench::cooperative_groups_barriers(args, current_stream(0));
    unsigned counted = 0;
    cuda::copy_to_host(&counted, counter, sizeof counted, 0);
    synchronize(kCuda);
    CHECK(counted == launches * kBlocks * kBarriers);
  }
}
