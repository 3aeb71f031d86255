// A steady training step asks the system for no memory: tensors come out of the caching allocator, kernels
// keep their scratch. What is left are small objects, of autograd mostly.
#include <atomic>
#include <cstdlib>
#include <new>

#include "compare.h"
#include "evenkeel/apps/mnist/network.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/optim.h"

namespace {

std::atomic<long> large_requests = 0;
constexpr std::size_t kLarge = 4096;  // bytes

void* request(std::size_t bytes) {
  if (bytes >= kLarge) ++large_requests;
  if (void* p = std::malloc(bytes)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return request(bytes); }
void* operator new[](std::size_t bytes) { return request(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

using namespace evenkeel;
using namespace evenkeel::test;

TEST_CASE("large requests are counted") {
  const long before = large_requests;
  std::vector<char> v(kLarge);
  CHECK(large_requests == before + 1);
  CHECK(v.size() == kLarge);
}

TEST_CASE("a steady training step asks the system for no memory") {
  for (const auto norm : {mnist::Norm::bn, mnist::Norm::gn, mnist::Norm::ln, mnist::Norm::ln_c}) {
    INFO(mnist::name_of(norm));
    manual_seed(1);
    auto net = mnist::network(norm, 2);
    optim::SGD sgd(net.parameters(), {.lr = 0.01, .momentum = 0.9, .l1 = 1e-5});
    const Tensor x = Random().normal({64, 1, 28, 28}, {});
    const Tensor labels = Random().labels(64, 10, Device::cpu());
    const auto step = [&] {
      sgd.zero_grad();
      nll_loss(net(x), labels).backward();
      sgd.step();
    };
    for (int i = 0; i < 5; ++i) step();
    const auto system_before = memory_stats().system_allocations;
    const long large_before = large_requests;
    for (int i = 0; i < 5; ++i) step();
    CHECK(memory_stats().system_allocations == system_before);
    CHECK(large_requests == large_before);
  }
}
