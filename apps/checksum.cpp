#include "checksum.h"

#include <vector>

#include "evenkeel/core/files.h"
#include "evenkeel/core/sha256.h"
#include "evenkeel/nn/safetensors.h"
#include "program.h"

namespace evenkeel::app {

std::string sha256_of(const std::filesystem::path& file, const std::function<void()>& at_each_block) {
  InputFile in(file);
  std::vector<char> bytes(1 << 16);
  Sha256 sum;
  while (const std::size_t n = in.read(bytes.data(), bytes.size())) {
    sum.update(bytes.data(), n);
    at_each_block();
  }
  return sum.hex();
}

std::string sha256_of_weights(const std::filesystem::path& file) {
  load_safetensors(file);  // refused now; and what it takes has no terabytes
  return reading(file, "give other --weights",
                 [&] { return sha256_of(file, [] { stop_if_signalled("while the weights were read"); }); });
}

}  // namespace evenkeel::app
