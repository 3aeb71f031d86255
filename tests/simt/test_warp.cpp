// Warp collectives: their values as CUDA's programming guide defines them, and the calls that are refused.
#include <cuda_runtime.h>

#include "catch.h"
#include "simt/device_array.h"

using namespace simt::test;

namespace {

constexpr unsigned kAll = ~0u;

template <typename T>
__global__ void shuffle_all(T* y, int operand, int width) {
  const unsigned t = threadIdx.x;
  const T own = static_cast<T>(t);
  y[t] = __shfl_sync(kAll, own, operand, width);
  y[64 + t] = __shfl_xor_sync(kAll, own, operand, width);
  y[128 + t] = __shfl_down_sync(kAll, own, operand, width);
}

/// What lane `lane` gets from the three shuffles.
int expected_lane(int kind, int lane, int operand, int width) {
  const int first = lane / width * width;
  if (kind == 0) return first + operand % width;
  const int source = kind == 1 ? lane ^ operand : lane + operand;
  return source < first + width ? source : lane;
}

template <typename T>
void check_shuffles(int operand, int width) {
  const DeviceArray<T> y(192);
  launch_1d(1, 64, shuffle_all<T>, y.data(), operand, width);
  const std::vector<T> values = y.values();
  for (int i = 0; i < 192; ++i) {
    CAPTURE(operand, width, i);
    CHECK(values[static_cast<std::size_t>(i)] ==
          static_cast<T>(i % 64 / 32 * 32 + expected_lane(i / 64, i % 32, operand, width)));
  }
}

__global__ void vote(unsigned* y) {
  const unsigned t = threadIdx.x;
  y[t] = __ballot_sync(kAll, t % 3 == 0);
}
__global__ void vote_by_halves(unsigned* y) {
  const unsigned t = threadIdx.x;
  y[t] = t % 2 == 0 ? __ballot_sync(0x55555555u, 1) : __ballot_sync(0xAAAAAAAAu, t < 4);
}
/// Lanes of different masks take their turns independently.
__global__ void sync_pairs_often(int* y) {
  SIMT_SHARED(int, turns, [32]);
  const unsigned t = threadIdx.x, pair = 3u << t / 2 * 2;
  turns[t] = 0;
  for (unsigned i = 0; i <= t / 2; ++i) {
    __syncwarp(pair);
    if (t % 2 == 0) ++turns[t + 1];
    __syncwarp(pair);
  }
  __syncwarp();
  y[t] = turns[t];
}
__global__ void partial_warp(int* y) {
  const unsigned t = threadIdx.x;
  y[t] = __shfl_xor_sync(t < 32 ? kAll : 0xFFFFu, static_cast<int>(t), 8);
}

__global__ void own_lane_missing() { __syncwarp(~(1u << 7)); }
__global__ void different_masks() { __syncwarp(threadIdx.x < 16 ? 0x1FFFFu : kAll); }
__global__ void different_operations() {
  threadIdx.x < 16 ? __syncwarp() : static_cast<void>(__ballot_sync(kAll, 1));
}
__global__ void different_sites() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncwarp();
  }
}
__global__ void read_outside_the_mask() {
  if (threadIdx.x < 16) __shfl_sync(0xFFFFu, 1, 20);
}
__global__ void name_an_exited_lane() {
  if (threadIdx.x == 5) return;
  __syncwarp();
}
__global__ void width_of_twelve() { __shfl_sync(kAll, 1, 0, 12); }
__global__ void width_of_zero() { __shfl_sync(kAll, 1, 0, 0); }
__global__ void never_met() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

}  // namespace

TEST_CASE("shuffles") {
  for (const int width : {32, 16, 8, 4, 2, 1}) {
    for (const int operand : {0, 1, 3, 5, 16, 31}) {
      check_shuffles<int>(operand, width);
      check_shuffles<float>(operand, width);
      check_shuffles<double>(operand, width);
      check_shuffles<unsigned char>(operand, width);
    }
  }
}

TEST_CASE("votes") {
  const DeviceArray<unsigned> y(32);
  launch_1d(1, 32, vote, y.data());
  CHECK(y.values() == std::vector<unsigned>(32, 0x49249249u));
  launch_1d(1, 32, vote_by_halves, y.data());
  CHECK((y.values()[0] == 0x55555555u && y.values()[1] == 0xAu));
}

TEST_CASE("masks of some lanes") {
  const DeviceArray<int> y(48);
  launch_1d(1, 48, partial_warp, y.data());
  CHECK((y.values()[0] == 8 && y.values()[47] == 39));
  launch_1d(1, 32, sync_pairs_often, y.data());
  for (int i = 0; i < 32; ++i) CHECK(y.values()[static_cast<std::size_t>(i)] == (i % 2 == 0 ? 0 : i / 2 + 1));
}

TEST_CASE("collectives that are refused") {
  CHECK_FAILS(launch_1d(1, 32, own_lane_missing), "thread 7 at test_warp.cpp:");
  CHECK_FAILS(launch_1d(1, 32, own_lane_missing), "is not in the mask it names");
  CHECK_FAILS(launch_1d(1, 32, different_masks), "different masks at test_warp.cpp:");
  CHECK_FAILS(launch_1d(1, 32, different_operations), "meet in different collectives: test_warp.cpp:");
  CHECK_FAILS(launch_1d(1, 32, different_sites), "meet in different collectives: test_warp.cpp:");
  CHECK_FAILS(launch_1d(1, 32, read_outside_the_mask), "reads lane 20, which is not in the mask");
  CHECK_FAILS(launch_1d(1, 32, name_an_exited_lane), "names lane 5, which has exited");
  CHECK_FAILS(launch_1d(1, 32, width_of_twelve), "shuffles with width 12");
  CHECK_FAILS(launch_1d(1, 32, width_of_zero), "shuffles with width 0");
  CHECK_FAILS(launch_1d(1, 32, never_met),
              "deadlock: 0 threads have exited; thread 0 and 15 more wait at test_warp.cpp:");
  const std::string partial = failure_of([] { launch_1d(1, 48, different_sites); });
  CHECK(partial.find("lanes of one warp meet in different") != std::string::npos);
  const std::string absent = failure_of([] { launch_1d(1, 16, different_operations); });
  CHECK(absent.find("which does not exist") != std::string::npos);
}
