#include "report/report.h"

#include "console.h"
#include "report/charts_of_study.h"
#include "report/page.h"
#include "report/report_directory.h"
#include "report/rsvg.h"
#include "run_directory.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

void make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  EK_CHECK(!error, "cannot create {}: {}", directory.string(), error.message());
}

/// The report is whole without them, so what goes wrong here ends nothing.
void write_pngs(const fs::path& charts, const Pictures& pictures) {
  std::vector<std::string> missing;
  std::string why;
  for (const auto& [name, picture] : pictures) {
    try {
      write_text(charts / (name + ".png"), png_of(charts / (name + ".svg")));
    } catch (const Error& e) {
      missing.push_back(name);
      why = e.what();
    }
  }
  if (!missing.empty())
    print_line(fmt::format("Charts without a PNG: {}; {}", fmt::join(missing, ", "), why));
}

}  // namespace

void write_report(const fs::path& directory, const Findings& findings, const data::Dataset& test) {
  check_report_directory(directory);
  remove_half_written(directory);
  const fs::path charts = directory / "charts", data = directory / "data", page_file = directory / kPageFile;
  make_directory(directory);
  if (!fs::exists(page_file)) write_text(page_file, unfinished_page());  // says whose the folder is
  make_directory(charts);
  make_directory(data);
  for (const auto& [name, csv] : data_files(findings)) write_text(data / name, csv);

  const Pictures pictures = charts_of_study(findings);
  std::set<std::string> svgs;
  for (const auto& [name, picture] : pictures) svgs.insert(name + ".svg");
  remove_charts(directory, svgs);
  for (const auto& [name, picture] : pictures) write_text(charts / (name + ".svg"), standalone_svg(picture));
  write_text(page_file, page(findings, pictures, test));
  write_pngs(charts, pictures);
}

}  // namespace evenkeel::app
