#include "bench/requirements.h"

#include <fstream>
#include <limits>
#include <optional>

#include "evenkeel/core/files.h"
#include "program.h"

namespace evenkeel::bench {
namespace {

/// Bytes that the system could give to programs; nothing where it does not tell.
std::optional<double> available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  for (double kib = 0; file >> name >> kib; file.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    if (name == "MemAvailable:") return kib * 1024;
  }
  return std::nullopt;
}

/// At least so many bytes hold the arrays of a row: its values in f64, and once more as they are stored.
double least_memory(const Row& row) {
  double bytes = 0;
  for (const Operand& operand : row.operands) {
    double elements = 1;
    for (const std::int64_t size : operand.shape) elements *= static_cast<double>(size);
    bytes += elements * static_cast<double>(sizeof(double) + size_of(operand.dtype));
  }
  return bytes;
}

}  // namespace

void require_writable(const std::filesystem::path& file) {
  if (file.empty()) return;
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    fail("cannot write --json {}: what is there is no file; choose another name", file.string());
  check_can_write(file);
}

void require_memory(const std::vector<Row>& rows) {
  const std::optional<double> available = available_memory();
  if (!available) return;
  for (const Row& row : rows) {
    const double needed = least_memory(row);
    if (!(needed <= *available))
      fail<app::UsageError>("{} needs {:.3g} GiB of memory, {:.3g} GiB are free: use a smaller --shape",
                            row.name(), needed / 0x1p30, *available / 0x1p30);
  }
}

}  // namespace evenkeel::bench
