// The directory in which a study shows its results.
#pragma once

#include <filesystem>

#include "evenkeel/nn/data.h"
#include "report/data_files.h"

namespace evenkeel::app {

/// Writes data/*.csv, charts/*.svg, index.html and charts/*.png to `directory`, each file whole or not at
/// all. An earlier report stays until its files are replaced; charts that only it has are removed. PNGs are
/// made by rsvg-convert; a line says which are missing because it, or writing them, fails. Throws what
/// check_report_directory throws, and Error if another file cannot be written.
void write_report(const std::filesystem::path& directory, const Findings& findings,
                  const data::Dataset& test);

}  // namespace evenkeel::app
