// The peer that is built in: oneDNN where it was found, else none.
#pragma once

#include <memory>

#include "bench/row.h"

namespace evenkeel::bench {

/// A row in another library, with the same values, in the memory formats that it prefers.
class Peer {
 public:
  virtual ~Peer() = default;
  /// Computes once; returns when that is done.
  virtual void run() = 0;
  /// The outputs by the names of the row's operands, those that the library gives.
  virtual std::map<std::string, std::vector<double>> results() = 0;
};

/// "oneDNN 2.6.3", or why there is none.
std::string peer_name();
/// Null where the peer does not have the op, the pass or the type.
std::unique_ptr<Peer> make_peer(const Row& row, const Values& values);

}  // namespace evenkeel::bench
