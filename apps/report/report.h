// The directory in which a study shows its results.
#pragma once

#include <filesystem>

#include "nn/data.h"
#include "report/data_files.h"

namespace evenkeel::app {

/// Writes index.html, charts/*.svg and *.png, and data/*.csv to `directory`, each file whole or not at all,
/// the page last. PNGs are made by rsvg-convert; without it there are none and a line says so. Throws Error
/// if a file cannot be written.
void write_report(const std::filesystem::path& directory, const Findings& findings,
                  const data::Dataset& test);

}  // namespace evenkeel::app
