// The executor: what correct kernels get, and which launches and kernels it refuses.
#include <cuda_runtime.h>

#include <set>
#include <tuple>

#include "catch.h"
#include "simt/device_array.h"

using namespace simt::test;

namespace {

void launch_3d(simt::Index grid, simt::Index block, std::size_t shared, void (*kernel)(int*), int* p) {
  simt::launch({"test", grid, block, shared}, kernel, p);
}

__global__ void nothing(int*) {}

__global__ void write_indices(int* y) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  y[i] += static_cast<int>(1 + threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x +
                           10000 * blockIdx.y + 100000 * blockIdx.z);
}

__global__ void rotate_by_barriers(int* y) {
  SIMT_SHARED(int, a, [96]);
  const unsigned t = threadIdx.x;
  a[t] = static_cast<int>(t);
  for (int i = 0; i < 5; ++i) {
    __syncthreads();
    const int next = a[(t + 1) % 96];
    __syncthreads();
    a[t] = next;
  }
  y[t] = a[t];
}

template <typename T>
__global__ void use_shared(int* y) {
  SIMT_SHARED(T, in_static, [3]);
  SIMT_DYN_SHARED(T, in_dynamic);
  unsigned char bytes[2 * sizeof(T)];
  std::memcpy(bytes, &in_static[2], sizeof(T));
  std::memcpy(bytes + sizeof(T), &in_dynamic[1], sizeof(T));
  int nan_bytes = 0;
  for (const unsigned char byte : bytes) nan_bytes += byte == 0xFF;
  y[blockIdx.x] = nan_bytes;
  in_static[2] = in_dynamic[1] = T(1);
}

template <int BYTES>
__global__ void use_static_shared(int*) {
  SIMT_SHARED(char, a, [BYTES]);
  a[BYTES - 1] = 0;
}

__global__ void barrier_in_both_branches(int*) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void barrier_in_one_branch(int*) {
  if (threadIdx.x < 40) __syncthreads();
}
__global__ void barrier_meets_collective(int*) {
  if (threadIdx.x == 3) {
    __syncthreads();
  } else if (threadIdx.x < 32) {
    __syncwarp();
  }
}
__global__ void spin(int*) {
  for (;;) __syncwarp();
}
__global__ void spin_at_barrier(int*) {
  for (;;) __syncthreads();
}
__global__ void last_one_wins(int* y) { *y = static_cast<int>(threadIdx.x); }
__global__ void last_block_wins(int* y) { *y = static_cast<int>(blockIdx.x); }
__global__ void add_id(int* y) { y[threadIdx.x] += static_cast<int>(threadIdx.x); }

}  // namespace

TEST_CASE("built-in variables") {
  using Shape = std::pair<simt::Index, simt::Index>;
  for (const auto& [grid, block] : {Shape{{3, 1, 1}, {70, 1, 1}}, Shape{{2, 3, 1}, {8, 4, 1}},
                                    Shape{{2, 2, 3}, {5, 2, 3}}, Shape{{1, 1, 2}, {2, 2, 64}}}) {
    const std::size_t blocks = grid.x * grid.y * grid.z, threads = block.x * block.y * block.z;
    const DeviceArray<int> y(std::vector<int>(blocks * threads, 0));
    launch_3d(grid, block, 0, write_indices, y.data());
    std::vector<int> expected;
    for (unsigned i = 0; i < blocks * threads; ++i) {
      const unsigned b = i / static_cast<unsigned>(threads), t = i % static_cast<unsigned>(threads);
      expected.push_back(static_cast<int>(1 + t % block.x + 10 * (t / block.x % block.y) +
                                          100 * (t / block.x / block.y) + 1000 * (b % grid.x) +
                                          10000 * (b / grid.x % grid.y) + 100000 * (b / grid.x / grid.y)));
    }
    CHECK(y.values() == expected);
  }
}

TEST_CASE("barriers order a block") {
  const DeviceArray<int> y(96);
  launch_1d(1, 96, rotate_by_barriers, y.data());
  for (int i = 0; i < 96; ++i) CHECK(y.values()[static_cast<std::size_t>(i)] == (i + 5) % 96);
}

TEST_CASE("shared memory starts as NaN bytes in each block") {
  const DeviceArray<int> y(4);
  launch_3d({4, 1, 1}, {1, 1, 1}, 64, use_shared<double>, y.data());
  CHECK(y.values() == std::vector<int>(4, 16));
  launch_3d({4, 1, 1}, {1, 1, 1}, 64, use_shared<char>, y.data());
  CHECK(y.values() == std::vector<int>(4, 2));
}

TEST_CASE("launch limits") {
  launch_3d({1, 1, 1}, {1024, 1, 1}, 232448, nothing, nullptr);
  launch_3d({1, 1, 1}, {16, 1, 64}, 0, nothing, nullptr);
  CHECK_FAILS(launch_3d({1, 1, 1}, {1025, 1, 1}, 0, nothing, nullptr), "a block of (1025, 1, 1) threads");
  CHECK_FAILS(launch_3d({1, 1, 1}, {33, 32, 1}, 0, nothing, nullptr), "a block of (33, 32, 1)");
  CHECK_FAILS(launch_3d({1, 1, 1}, {1, 1, 65}, 0, nothing, nullptr), "64 of them in z");
  CHECK_FAILS(launch_3d({1, 1, 1}, {0, 1, 1}, 0, nothing, nullptr), "a block of");
  CHECK_FAILS(launch_3d({0, 1, 1}, {1, 1, 1}, 0, nothing, nullptr), "a grid of");
  CHECK_FAILS(launch_3d({1, 65536, 1}, {1, 1, 1}, 0, nothing, nullptr), "a grid of (1, 65536, 1)");
  CHECK_FAILS(launch_3d({1, 1, 65536}, {1, 1, 1}, 0, nothing, nullptr), "a grid of (1, 1, 65536)");
  CHECK_FAILS(launch_3d({1u << 31, 1, 1}, {1, 1, 1}, 0, nothing, nullptr), "a grid of (2147483648");
  CHECK_FAILS(launch_3d({1, 1, 1}, {1, 1, 1}, 232449, nothing, nullptr), "232449 bytes of shared memory");
  launch_1d(1, 32, use_static_shared<49152>, nullptr);
  CHECK_FAILS(launch_1d(1, 32, use_static_shared<49153>, nullptr), "49153 bytes of static shared memory");
  launch_3d({1, 1, 1}, {2, 1, 1}, 232448 - 4096, use_static_shared<4096>, nullptr);
  CHECK_FAILS(launch_3d({1, 1, 1}, {2, 1, 1}, 232448 - 4095, use_static_shared<4096>, nullptr),
              "static and dynamic shared memory together");
}

TEST_CASE("barriers that not all threads reach") {
  CHECK_FAILS(launch_1d(1, 64, barrier_in_both_branches, nullptr),
              "threads 0 and 32 wait at different __syncthreads: test_executor.cpp:");
  CHECK_FAILS(launch_1d(1, 64, barrier_in_one_branch, nullptr), "is never reached by 24 threads");
  CHECK_FAILS(launch_1d(1, 64, barrier_meets_collective, nullptr),
              "deadlock: 32 threads have exited; thread 0 and 30 more wait at test_executor.cpp:");
  CHECK_FAILS(launch_1d(1, 64, barrier_meets_collective, nullptr), "; thread 3 waits at test_executor.cpp:");
  CHECK_FAILS(launch_1d(1, 64, barrier_meets_collective, nullptr), " for the block");
}

TEST_CASE("blocks that do not end") {
  CHECK_FAILS(launch_1d(1, 32, spin, nullptr), "a block does not end");
  CHECK_FAILS(launch_1d(1, 1, spin_at_barrier, nullptr), "a block does not end");
}

TEST_CASE("results that depend on the order of threads and blocks") {
  const DeviceArray<int> y(1), z(std::vector<int>(64, 0));
  CHECK_FAILS(launch_1d(1, 64, last_one_wins, y.data()), "depends on the order of threads and blocks");
  CHECK_FAILS(launch_1d(9, 1, last_block_wins, y.data()), "first at device block of 4 bytes + 0");
  launch_1d(1, 64, add_id, z.data());  // in place: every order starts from the same memory
  CHECK(z.values() == iota<int>(64));
  const int before = simt::orders();
  simt::set_orders(1);
  launch_1d(1, 64, last_one_wins, y.data());
  simt::set_orders(before);
  CHECK((y.values()[0] >= 0 && y.values()[0] < 64));
}

TEST_CASE("a failed launch leaves the executor usable") {
  const DeviceArray<int> y(96);
  for (int i = 0; i < 3; ++i) {
    CHECK_FAILS(launch_1d(2, 1024, barrier_in_one_branch, nullptr), "is never reached");
    CHECK_FAILS(launch_1d(1, 64, barrier_meets_collective, nullptr), "deadlock");
    CHECK_FAILS(launch_1d(1, 32, use_static_shared<49153>, nullptr), "static shared memory");
    launch_1d(1, 96, rotate_by_barriers, y.data());
    CHECK(y.values()[95] == 4);
  }
}

namespace {

__global__ void shift(int* y, const int* x) { y[threadIdx.x] = x[(threadIdx.x + 1) % blockDim.x]; }

}  // namespace

TEST_CASE("a launch is known by which of its pointers are the same, however often others went well") {
  const DeviceArray<int> x(iota<int>(8)), y(8);
  const int orders = simt::orders();
  simt::set_orders(3);
  const auto run = [](int* to, const int* from) {
    simt::launch({"shift", {1, 1, 1}, {8, 1, 1}, 0}, shift, to, from);
  };
  for (int i = 0; i < 5; ++i) CHECK_NOTHROW(run(y.data(), x.data()));
  CHECK_THROWS_AS(run(x.data(), x.data()), simt::Failure);
  simt::set_orders(orders);
}
