// The options of bench_norms, and the rows that they select.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/row.h"
#include "bench/timing.h"

namespace evenkeel::bench {

struct Options {
  bool list = false;
  std::vector<std::string> ops;       // all if empty
  std::vector<std::string> variants;  // parts of a row's variant or its layout; all if empty
  std::vector<Shape> shapes;          // all that are listed if empty
  std::vector<DType> dtypes = {DType::f32};
  Device device;
  int threads = 0;
  Effort effort;
  std::filesystem::path json;
  std::vector<std::filesystem::path> peer_json;
};

/// Nothing if --help or --version was asked for and printed. Throws UsageError, DeviceError.
std::optional<Options> parse_options(int argc, char** argv);

/// At least one. Throws UsageError if there is none.
std::vector<Row> selected_rows(const Options& options);

}  // namespace evenkeel::bench
