// Readers of files that may hold anything. Each target below gives its bytes to one of them, which must
// accept them or refuse them in one line; what it accepts must be the same once it is written and read again.
// A target throws Broken when that does not hold, and returns whether the bytes were accepted. A crash, a
// hang or too much memory is noticed by whoever calls it.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::fuzz {

struct Broken : std::logic_error {
  using std::logic_error::logic_error;
};

bool idx(std::string_view bytes);          ///< a plain IDX file, of the rank that it says
bool idx_gz(std::string_view bytes);       ///< the first byte chooses how the others are gzipped
bool safetensors(std::string_view bytes);  ///< a file
/// Recipe, state, metrics and, unless that is all, results, each ended by a NUL: a checkpoint's, with the
/// right checksum.
bool checkpoint(std::string_view bytes);
bool done(std::string_view bytes);         ///< DONE
bool metrics(std::string_view bytes);      ///< metrics.jsonl
bool config(std::string_view bytes);       ///< config.json
bool predictions(std::string_view bytes);  ///< predictions.csv
bool peer_file(std::string_view bytes);    ///< what --peer-json of bench_norms names

struct Target {
  const char* name;
  bool (*run)(std::string_view bytes);
};
const std::vector<Target>& targets();

/// An input to start from, and whether it is accepted.
struct Seed {
  std::string name, bytes;
  bool accepted;
};
std::vector<Seed> seeds(std::string_view target);

}  // namespace evenkeel::fuzz
