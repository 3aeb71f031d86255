// cuDNN's convolutions, through the library's own cuDNN backend: the same arrays and sizes, in the same
// process.
#include "bench/peer.h"
#include "evenkeel/kernels/cuda/cudnn.h"

namespace evenkeel::bench {
namespace {

/// Convolutions are cuDNN's while one is alive.
class WithCudnn {
 public:
  WithCudnn() : before_(cuda::conv_backend()) { cuda::set_conv_backend(cuda::ConvBackend::cudnn); }
  ~WithCudnn() { cuda::set_conv_backend(before_); }
  WithCudnn(const WithCudnn&) = delete;
  WithCudnn& operator=(const WithCudnn&) = delete;

 private:
  cuda::ConvBackend before_;
};

class CudnnPeer : public Peer {
 public:
  CudnnPeer(const Row& row, const Values& values, Device device)
      : arrays_(row.operands, values, device), launch_(row.bind(arrays_)) {
    arrays_.reset();
  }
  void run() override {
    const WithCudnn guard;
    launch_();
  }
  std::map<std::string, std::vector<double>> results() override { return arrays_.results(); }

 private:
  DeviceArrays arrays_;
  Launch launch_;
};

}  // namespace

std::string cudnn_peer_name() {
  if constexpr (kCudaEnabled) {
    if (const std::string& why = cuda::why_no_cudnn(); !why.empty()) return "none (" + why + ")";
    return "cuDNN";
  }
  return "none (this build has no CUDA)";
}

std::unique_ptr<Peer> make_cudnn_peer(const Row& row, const Values& values, Device device) {
  if constexpr (kCudaEnabled) {
    const bool is_there = row.op == "conv2d" && (row.dtype == DType::f32 || row.dtype == DType::f64) &&
                          cuda::why_no_cudnn().empty();
    if (is_there) return std::make_unique<CudnnPeer>(row, values, device);
  }
  return nullptr;
}

}  // namespace evenkeel::bench
