#include "bench/cudnn_conv.h"

#include <stdexcept>

#include "evenkeel/kernels/cuda/simt.h"

#if defined(__CUDACC__) && __has_include(<cudnn.h>)
#  define EK_WITH_CUDNN
#  include <cudnn.h>
#  include <dlfcn.h>

#  include <array>
#  include <cstdlib>
#  include <map>
#  include <vector>
#endif

namespace evenkeel::bench {
namespace {

void require_cudnn() {
  if (!why_no_cudnn().empty()) throw std::runtime_error("cuDNN cannot be used: " + why_no_cudnn());
}

}  // namespace

#ifndef EK_WITH_CUDNN

const std::string& why_no_cudnn() {
  static const std::string reason = "this build was made without its headers";
  return reason;
}
template <typename T>
void cudnn_conv2d_forward(const Conv2dForwardArgs<T>&, Stream) {
  require_cudnn();
}
template <typename T>
void cudnn_conv2d_backward_input(const Conv2dBackwardInputArgs<T>&, Stream) {
  require_cudnn();
}
template <typename T>
void cudnn_conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&, Stream) {
  require_cudnn();
}

#else

namespace {

// The entry points used, each once.
#  define EK_CUDNN_FUNCTIONS(F)                      \
    F(cudnnCreate)                                   \
    F(cudnnGetErrorString)                           \
    F(cudnnSetStream)                                \
    F(cudnnCreateTensorDescriptor)                   \
    F(cudnnDestroyTensorDescriptor)                  \
    F(cudnnSetTensor4dDescriptor)                    \
    F(cudnnCreateFilterDescriptor)                   \
    F(cudnnDestroyFilterDescriptor)                  \
    F(cudnnSetFilter4dDescriptor)                    \
    F(cudnnCreateConvolutionDescriptor)              \
    F(cudnnDestroyConvolutionDescriptor)             \
    F(cudnnSetConvolution2dDescriptor)               \
    F(cudnnSetConvolutionGroupCount)                 \
    F(cudnnSetConvolutionMathType)                   \
    F(cudnnGetConvolutionForwardAlgorithm_v7)        \
    F(cudnnGetConvolutionBackwardDataAlgorithm_v7)   \
    F(cudnnGetConvolutionBackwardFilterAlgorithm_v7) \
    F(cudnnConvolutionForward)                       \
    F(cudnnConvolutionBackwardData)                  \
    F(cudnnConvolutionBackwardFilter)                \
    F(cudnnConvolutionBackwardBias)                  \
    F(cudnnAddTensor)

struct Cudnn {
#  define EK_MEMBER(name) decltype(&::name) name = nullptr;
  EK_CUDNN_FUNCTIONS(EK_MEMBER)
#  undef EK_MEMBER
  std::string failure;

  Cudnn() {
    const char* file = std::getenv("EVENKEEL_CUDNN");
    void* library = dlopen(file != nullptr ? file : "libcudnn.so.9", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) {
      failure = std::string(dlerror()) + "; install cuDNN 9 or name its file in EVENKEEL_CUDNN";
      return;
    }
#  define EK_LOAD(name)                                             \
    name = reinterpret_cast<decltype(name)>(dlsym(library, #name)); \
    if (name == nullptr) failure = "this version of it has no " #name;
    EK_CUDNN_FUNCTIONS(EK_LOAD)
#  undef EK_LOAD
  }
};

const Cudnn& cudnn() {
  static const Cudnn library;
  return library;
}

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error(std::string(call) + " failed: " + cudnn().cudnnGetErrorString(status));
}
#  define EK_CUDNN(call, ...) check(cudnn().call(__VA_ARGS__), #  call)

/// One handle a thread and stream.
cudnnHandle_t handle_of(Stream stream) {
  thread_local std::map<Stream, cudnnHandle_t> handles;
  cudnnHandle_t& handle = handles[stream];
  if (handle == nullptr) {
    EK_CUDNN(cudnnCreate, &handle);
    EK_CUDNN(cudnnSetStream, handle, stream);
  }
  return handle;
}

/// The descriptors of one convolution.
template <typename T>
struct Descriptors {
  cudnnTensorDescriptor_t x = nullptr, y = nullptr, bias = nullptr;
  cudnnFilterDescriptor_t weight = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;

  explicit Descriptors(const Conv2dSizes& s) {
    constexpr cudnnDataType_t type = sizeof(T) == 4 ? CUDNN_DATA_FLOAT : CUDNN_DATA_DOUBLE;
    const auto i = [](std::int64_t n) {
      if (n > INT32_MAX) throw std::runtime_error("cuDNN takes sizes below 2^31 only");
      return static_cast<int>(n);
    };
    const auto tensor = [&](cudnnTensorDescriptor_t& d, std::int64_t n, std::int64_t c, std::int64_t h,
                            std::int64_t w) {
      EK_CUDNN(cudnnCreateTensorDescriptor, &d);
      EK_CUDNN(cudnnSetTensor4dDescriptor, d, CUDNN_TENSOR_NCHW, type, i(n), i(c), i(h), i(w));
    };
    tensor(x, s.N, s.C, s.H, s.W);
    tensor(y, s.N, s.K, s.P, s.Q);
    tensor(bias, 1, s.K, 1, 1);
    EK_CUDNN(cudnnCreateFilterDescriptor, &weight);
    EK_CUDNN(cudnnSetFilter4dDescriptor, weight, type, CUDNN_TENSOR_NCHW, i(s.K), i(s.C / s.groups), i(s.R),
             i(s.S));
    EK_CUDNN(cudnnCreateConvolutionDescriptor, &conv);
    EK_CUDNN(cudnnSetConvolution2dDescriptor, conv, i(s.pad_h), i(s.pad_w), i(s.stride_h), i(s.stride_w),
             i(s.dilation_h), i(s.dilation_w), CUDNN_CROSS_CORRELATION, type);
    EK_CUDNN(cudnnSetConvolutionGroupCount, conv, i(s.groups));
    EK_CUDNN(cudnnSetConvolutionMathType, conv, CUDNN_FMA_MATH);
  }
  ~Descriptors() {
    cudnn().cudnnDestroyTensorDescriptor(x);
    cudnn().cudnnDestroyTensorDescriptor(y);
    cudnn().cudnnDestroyTensorDescriptor(bias);
    cudnn().cudnnDestroyFilterDescriptor(weight);
    cudnn().cudnnDestroyConvolutionDescriptor(conv);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
};

/// The first of the algorithms that cuDNN proposes, fastest first, that works and is deterministic.
/// `propose(count, found, results)` asks for proposals.
template <typename Performance, typename F>
Performance choose(const char* call, F propose) {
  std::array<Performance, 16> results;
  int found = 0;
  check(propose(static_cast<int>(results.size()), &found, results.data()), call);
  for (int k = 0; k < found; ++k) {
    if (results[k].status == CUDNN_STATUS_SUCCESS && results[k].determinism == CUDNN_DETERMINISTIC)
      return results[k];
  }
  throw std::runtime_error(std::string(call) + " proposes no deterministic algorithm");
}

}  // namespace

const std::string& why_no_cudnn() { return cudnn().failure; }

template <typename T>
void cudnn_conv2d_forward(const Conv2dForwardArgs<T>& a, Stream stream) {
  require_cudnn();
  const Descriptors<T> d(a.sizes);
  const cudnnHandle_t handle = handle_of(stream);
  const T one = 1, zero = 0;
  const auto algorithm = choose<cudnnConvolutionFwdAlgoPerf_t>(
      "cudnnGetConvolutionForwardAlgorithm_v7",
      [&](int most, int* found, cudnnConvolutionFwdAlgoPerf_t* results) {
        return cudnn().cudnnGetConvolutionForwardAlgorithm_v7(handle, d.x, d.weight, d.conv, d.y, most, found,
                                                              results);
      });
  void* scratch = cuda::workspace(stream, static_cast<std::int64_t>(algorithm.memory));
  EK_CUDNN(cudnnConvolutionForward, handle, &one, d.x, a.x, d.weight, a.weight, d.conv, algorithm.algo,
           scratch, algorithm.memory, &zero, d.y, a.y);
  if (a.bias != nullptr) EK_CUDNN(cudnnAddTensor, handle, &one, d.bias, a.bias, &one, d.y, a.y);
}

template <typename T>
void cudnn_conv2d_backward_input(const Conv2dBackwardInputArgs<T>& a, Stream stream) {
  require_cudnn();
  const Descriptors<T> d(a.sizes);
  const cudnnHandle_t handle = handle_of(stream);
  const T one = 1, zero = 0;
  const auto algorithm = choose<cudnnConvolutionBwdDataAlgoPerf_t>(
      "cudnnGetConvolutionBackwardDataAlgorithm_v7",
      [&](int most, int* found, cudnnConvolutionBwdDataAlgoPerf_t* results) {
        return cudnn().cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, d.weight, d.y, d.conv, d.x, most,
                                                                   found, results);
      });
  void* scratch = cuda::workspace(stream, static_cast<std::int64_t>(algorithm.memory));
  EK_CUDNN(cudnnConvolutionBackwardData, handle, &one, d.weight, a.weight, d.y, a.dy, d.conv, algorithm.algo,
           scratch, algorithm.memory, &zero, d.x, a.dx);
}

template <typename T>
void cudnn_conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& a, Stream stream) {
  require_cudnn();
  const Descriptors<T> d(a.sizes);
  const cudnnHandle_t handle = handle_of(stream);
  const T one = 1, zero = 0;
  const auto algorithm = choose<cudnnConvolutionBwdFilterAlgoPerf_t>(
      "cudnnGetConvolutionBackwardFilterAlgorithm_v7",
      [&](int most, int* found, cudnnConvolutionBwdFilterAlgoPerf_t* results) {
        return cudnn().cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, d.x, d.y, d.conv, d.weight, most,
                                                                     found, results);
      });
  void* scratch = cuda::workspace(stream, static_cast<std::int64_t>(algorithm.memory));
  EK_CUDNN(cudnnConvolutionBackwardFilter, handle, &one, d.x, a.x, d.y, a.dy, d.conv, algorithm.algo, scratch,
           algorithm.memory, &zero, d.weight, a.dweight);
  if (a.dbias != nullptr)
    EK_CUDNN(cudnnConvolutionBackwardBias, handle, &one, d.y, a.dy, &zero, d.bias, a.dbias);
}

#endif

#define EK_INSTANTIATE(T)                                                               \
  template void cudnn_conv2d_forward(const Conv2dForwardArgs<T>&, Stream);              \
  template void cudnn_conv2d_backward_input(const Conv2dBackwardInputArgs<T>&, Stream); \
  template void cudnn_conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>&, Stream);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::bench
