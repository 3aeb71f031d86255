// What the machine must have before rows are measured, so that nothing fails after minutes.
#pragma once

#include <filesystem>
#include <vector>

#include "bench/row.h"

namespace evenkeel::bench {

/// Throws Error unless write_file_atomically could put a file there without replacing anything but a file.
/// Does nothing for an empty path.
void require_writable(const std::filesystem::path& file);

/// Throws UsageError, naming the row, if the arrays of one do not fit into the memory that is free.
void require_memory(const std::vector<Row>& rows);

}  // namespace evenkeel::bench
