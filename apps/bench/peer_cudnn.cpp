// cuDNN's convolutions of the same arrays and sizes, in the same process.
#include "bench/cudnn_conv.h"
#include "bench/op_rows.h"
#include "bench/peer.h"
#include "evenkeel/core/dispatch.h"

namespace evenkeel::bench {
namespace {

/// A launch of cuDNN's convolution of a row with elements T on its arrays.
template <typename T>
Launch bind_conv2d(const Row& row, DeviceArrays& a) {
  const Conv2dSizes sizes = conv2d_sizes(row);
  const int device = a.device().index;
  if (row.pass == "forward") {
    const Conv2dForwardArgs<T> args{
        .y = a.out<T>("y"), .x = a.in<T>("x"), .weight = a.in<T>("weight"), .bias = nullptr, .sizes = sizes};
    return [=] { cudnn_conv2d_forward(args, current_stream(device)); };
  }
  if (row.pass == "backward_input") {
    const Conv2dBackwardInputArgs<T> args{
        .dx = a.out<T>("dx"), .dy = a.in<T>("dy"), .weight = a.in<T>("weight"), .sizes = sizes};
    return [=] { cudnn_conv2d_backward_input(args, current_stream(device)); };
  }
  const Conv2dBackwardWeightArgs<T> args{.dweight = a.out<T>("dweight"),
                                         .dbias = nullptr,
                                         .dy = a.in<T>("dy"),
                                         .x = a.in<T>("x"),
                                         .sizes = sizes};
  return [=] { cudnn_conv2d_backward_weight(args, current_stream(device)); };
}

class CudnnPeer : public Peer {
 public:
  CudnnPeer(const Row& row, const Values& values, Device device)
      : arrays_(row.operands, values, device),
        launch_(dispatch_floating(row.dtype, [&]<typename T>() { return bind_conv2d<T>(row, arrays_); })) {
    arrays_.reset();
  }
  void run() override { launch_(); }
  std::map<std::string, std::vector<double>> results() override { return arrays_.results(); }

 private:
  DeviceArrays arrays_;
  Launch launch_;
};

}  // namespace

std::string cudnn_peer_name() {
  if constexpr (kCudaEnabled) {
    if (const std::string& why = why_no_cudnn(); !why.empty()) return "none (" + why + ")";
    return "cuDNN";
  }
  return "none (this build has no CUDA)";
}

std::unique_ptr<Peer> make_cudnn_peer(const Row& row, const Values& values, Device device) {
  if constexpr (kCudaEnabled) {
    const bool is_there =
        row.op == "conv2d" && (row.dtype == DType::f32 || row.dtype == DType::f64) && why_no_cudnn().empty();
    if (is_there) return std::make_unique<CudnnPeer>(row, values, device);
  }
  return nullptr;
}

}  // namespace evenkeel::bench
