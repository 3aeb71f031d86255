// The SIMT executor: runs CUDA kernels on the CPU, one fiber per CUDA thread, and fails loudly where CUDA's
// rules are broken: divergent or missing barriers, warp collectives that disagree, launches beyond a GPU's
// limits, results that depend on the order of threads and, with the race detector, unordered accesses.
//
// Blocks run one after another, lanes of a warp are never in lock step, and the order of threads, warps and
// blocks is chosen per run: 1 ascending, 2 descending, 3 and up random. launch() runs every kernel once per
// order, each time from the same memory, and compares the memory it leaves bit by bit. What decides about
// orders is the code that runs, not the values it computes with: launches that differ from an earlier one
// in nothing but the data, as in training and gradcheck, run once (SIMT_REPEATS, 0: never). The blocks of a
// grid group take turns: each runs until all its threads wait at sync_grid_group, or at sync_cluster for
// those of its cluster.
//
// Not covered: the memory model between blocks, real concurrency, inline PTX (that of sync_grid_group, too),
// speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <tuple>
#include <type_traits>

/// Code that has to know is built for the executor.
#define SIMT_EXECUTOR

struct dim3;
struct uint3;
struct CUstream_st;

namespace simt {

/// A kernel that broke a rule. Thrown by launch().
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Where in the source a thread waits.
struct Site {
  const char* file;
  unsigned line;
};

enum class WarpOp { sync, shuffle, shuffle_xor, shuffle_down, ballot };

// What a kernel calls.

struct Index {
  unsigned x, y, z;
};
/// The built-in variables of the thread that runs now.
struct BuiltIns {
  Index thread_index, block_index, block_dim, grid_dim;
};
extern BuiltIns current;

void sync_threads(Site site);
/// kernels/cuda/grid_group.cuh
void sync_grid_group(unsigned* arrivals, int blocks, Site site);
/// kernels/cuda/cluster.cuh
void sync_cluster(Site site);
int cluster_rank();
int cluster_size();
void* in_cluster(void* mine, int rank);
std::uint64_t warp_collective(WarpOp op, unsigned mask, std::uint64_t value, int operand, int width,
                              Site site);
void* dynamic_shared();
/// The block's memory for one SIMT_SHARED declaration, filled with NaN bytes when first reached.
void* shared_slot(const void* declaration, std::size_t bytes, std::size_t alignment);
template <typename T, typename Tag>
T& shared(Tag) {
  static const char declaration = 0;
  return *static_cast<T*>(shared_slot(&declaration, sizeof(T), alignof(T) < 16 ? 16 : alignof(T)));
}

/// Tells the race detector that the access which follows is atomic.
void note_atomic(const void* address, std::size_t bytes);
template <typename T>
__attribute__((no_sanitize("thread"))) T exchange_add(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}

// What the host calls.

struct Launch {
  const char* name;
  Index grid, block;
  std::size_t dynamic_shared;
  CUstream_st* stream = nullptr;
  unsigned grid_group = 1;  // neighbouring blocks that may wait for each other
  unsigned cluster = 1;     // neighbours of a grid group that may use each other's dynamic shared memory
};

/// True if kernels launched on the stream do not run now: it is being captured, or they are refused.
bool is_captured(CUstream_st* stream);
/// Keeps a kernel of such a stream for its graph, or refuses it; cudaGetLastError() says which.
void capture_kernel(CUstream_st* stream, std::function<void()> kernel);

/// What decides which way a kernel goes, but for the data: the launch and the arguments, where a pointer
/// counts by its alignment and by which of the pointers before it are the same.
std::uint64_t form_of(const Launch& launch, const void* arguments, std::size_t bytes);

/// Runs a kernel; `arguments` is what `kernel` is called with, by every thread. Throws Failure.
void run(const Launch& launch, std::uint64_t form, void (*kernel)(const void*), const void* arguments,
         std::size_t argument_bytes);

/// An argument's own forget_data(), if it has one, sets what is data in it to zero.
template <typename T>
void forget_data_of(T& argument) {
  if constexpr (requires { argument.forget_data(); }) argument.forget_data();
}

template <typename... Parameters, typename... Arguments>
void launch(const Launch& how, void (*kernel)(Parameters...), const Arguments&... arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::remove_const_t<Parameters>...> arguments;
  };
  Call like{kernel, {static_cast<Parameters>(arguments)...}};
  std::apply([](auto&... argument) { (forget_data_of(argument), ...); }, like.arguments);
  const std::uint64_t form = form_of(how, &like, sizeof like);
  const auto run_call = [how, form, call = Call{kernel, {static_cast<Parameters>(arguments)...}}] {
    run(
        how, form, [](const void* p) __attribute__((no_sanitize("thread"))) {
          const Call& c = *static_cast<const Call*>(p);
          std::apply(c.kernel, c.arguments);
        },
        &call, sizeof call);
  };
  if (is_captured(how.stream)) return capture_kernel(how.stream, run_call);
  run_call();
}

/// How many orders launch() runs each kernel in, at least 1; from SIMT_ORDERS, default 3.
int orders();
void set_orders(int count);
/// Looks for races in all orders instead of in the last one only.
void look_for_races_in_all_orders(bool on);

}  // namespace simt
