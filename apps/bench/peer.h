// The peers that are built in: oneDNN on the CPU where it was found, cuDNN's convolutions on CUDA devices
// where it can be loaded.
#pragma once

#include <memory>

#include "bench/row.h"

namespace evenkeel::bench {

/// A row in another library, with the same values, in the memory formats that it prefers.
class Peer {
 public:
  virtual ~Peer() = default;
  /// Computes once; returns when that is done, or on a CUDA device enqueued.
  virtual void run() = 0;
  /// The outputs by the names of the row's operands, those that the library gives.
  virtual std::map<std::string, std::vector<double>> results() = 0;
};

// peer_name() and make_peer() below choose from these.
std::string onednn_peer_name();
std::unique_ptr<Peer> make_onednn_peer(const Row& row, const Values& values);
std::string cudnn_peer_name();
std::unique_ptr<Peer> make_cudnn_peer(const Row& row, const Values& values, Device device);

/// The peer for a device: "oneDNN 2.6.3" or "cuDNN", or why there is none.
inline std::string peer_name(Device device) {
  return device.is_cpu() ? onednn_peer_name() : cudnn_peer_name();
}
/// Null where the peer is not there, or does not have the op, the pass or the type.
inline std::unique_ptr<Peer> make_peer(const Row& row, const Values& values, Device device) {
  return device.is_cpu() ? make_onednn_peer(row, values) : make_cudnn_peer(row, values, device);
}

}  // namespace evenkeel::bench
