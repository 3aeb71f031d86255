#include "bench/peer.h"

namespace evenkeel::bench {

std::string peer_name() { return "none (this build found no oneDNN 2)"; }
std::unique_ptr<Peer> make_peer(const Row&, const Values&) { return nullptr; }

}  // namespace evenkeel::bench
