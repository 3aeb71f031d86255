// fuzz_seeds            runs every target on its seeds, and on each with a byte changed or its end cut off
// fuzz_seeds write DIR  writes them to DIR/<target>/<seed>, for libFuzzer to begin with
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fuzz/targets.h"

using namespace evenkeel::fuzz;

namespace {

void write_seeds(const std::filesystem::path& directory) {
  for (const Target& target : targets()) {
    std::filesystem::create_directories(directory / target.name);
    for (const Seed& seed : seeds(target.name)) {
      std::ofstream out(directory / target.name / seed.name, std::ios::binary);
      out << seed.bytes;
      out.close();
      if (!out) throw std::runtime_error("cannot write to " + directory.string());
    }
  }
}

/// Inputs near the seed: at most 64 of each kind, spread over its bytes.
void run_neighbours(const Target& target, const Seed& seed) {
  const std::size_t stride = seed.bytes.size() / 64 + 1;
  for (std::size_t i = 0; i < seed.bytes.size(); i += stride) {
    target.run(seed.bytes.substr(0, i));
    std::string changed = seed.bytes;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    target.run(changed);
  }
}

int run_seeds() {
  int failed = 0;
  for (const Target& target : targets()) {
    const std::vector<Seed> all = seeds(target.name);
    for (const Seed& seed : all) {
      try {
        if (target.run(seed.bytes) != seed.accepted)
          throw Broken(seed.accepted ? "is refused" : "is accepted");
        run_neighbours(target, seed);
      } catch (const std::exception& e) {
        std::printf("%s, seed %s: %s\n", target.name, seed.name.c_str(), e.what());
        ++failed;
      }
    }
    std::printf("%s: %zu seeds\n", target.name, all.size());
    if (all.empty()) ++failed;
  }
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 3 && std::string_view(argv[1]) == "write") {
      write_seeds(argv[2]);
      return EXIT_SUCCESS;
    }
    return run_seeds();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fuzz_seeds: %s\n", e.what());
    return EXIT_FAILURE;
  }
}
