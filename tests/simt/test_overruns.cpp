// The AddressSanitizer build: overruns are reported, and switching and discarding fibers reports nothing.
#include <cuda_runtime.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catch.h"
#include "simt/device_array.h"

using namespace simt::test;

namespace {

/// What a process that calls run() writes to stderr, or "" if it ends well.
template <typename Run>
std::string report_of(const Run& run) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    run();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : text;
}

/// Reads through pointers, where no bounds are known to the compiler.
__global__ void read_shared(int* y, int in_static, int in_dynamic) {
  SIMT_SHARED(int, first, [30]);
  SIMT_SHARED(int, second, [5]);
  SIMT_DYN_SHARED(int, dynamic);
  const int *p = first, *q = second;
  first[0] = second[0] = dynamic[0] = 1;
  *y = p[in_static] + q[0] + dynamic[in_dynamic];
}

void run_read_shared(int in_static, int in_dynamic) {
  const DeviceArray<int> y(1);
  simt::launch({"test", {1, 1, 1}, {1, 1, 1}, 7 * sizeof(int)}, read_shared, y.data(), in_static, in_dynamic);
}

__global__ void read_global(int* y, const int* x, int i) { *y = x[i]; }

void run_read_global(int i) {
  const DeviceArray<int> x(iota<int>(10)), y(1);
  launch_1d(1, 1, read_global, y.data(), x.data(), i);
}

/// Waits below `depth` frames that hold arrays, which have red zones.
int wait_deep(int depth, bool forever) {
  volatile int values[8] = {depth};
  if (depth == 0) {
    if (forever && threadIdx.x == 1) return 0;
    __syncthreads();
    return 1;
  }
  const int below = wait_deep(depth - 1, forever);
  return below + values[0] - depth;
}
__global__ void wait_at_depths(int* y, bool forever) {
  y[threadIdx.x] = wait_deep(static_cast<int>(threadIdx.x) % 13, forever);
}

}  // namespace

TEST_CASE("overruns of shared arrays") {
  CHECK(report_of([] { run_read_shared(29, 6); }).empty());
  for (const int i : {30, 31, 45, -1, -16}) {
    CAPTURE(i);
    CHECK(report_of([=] { run_read_shared(i, 0); }).find("use-after-poison") != std::string::npos);
  }
  for (const int i : {7, 8, 22}) {
    CAPTURE(i);
    CHECK(report_of([=] { run_read_shared(0, i); }).find("use-after-poison") != std::string::npos);
  }
}

TEST_CASE("overruns of global arrays") {
  CHECK(report_of([] { run_read_global(9); }).empty());
  CHECK(report_of([] { run_read_global(10); }).find("heap-buffer-overflow") != std::string::npos);
  CHECK(report_of([] { run_read_global(-1); }).find("heap-buffer-overflow") != std::string::npos);
}

TEST_CASE("fibers that were suspended deep in calls, or discarded there") {
  const DeviceArray<int> y(128);
  for (int i = 0; i < 5; ++i) {
    CHECK(failure_of([&] { launch_1d(1, 128, wait_at_depths, y.data(), true); }) != "no failure");
    launch_1d(1, 128, wait_at_depths, y.data(), false);
    CHECK(y.values() == std::vector<int>(128, 1));
  }
}
