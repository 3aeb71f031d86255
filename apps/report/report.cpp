#include "report/report.h"

#include <spawn.h>
#include <sys/wait.h>

#include <array>

#include "console.h"
#include "report/charts_of_study.h"
#include "report/page.h"
#include "run_directory.h"

extern char** environ;

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

constexpr int kNotFound = 127;  // exit code of what could not be started

/// Runs a program with these arguments and waits; its exit code.
int run_tool(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawnp(&child, argv[0], nullptr, nullptr, argv.data(), environ) != 0) return kNotFound;
  int status = 0;
  if (waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// False if there is no rsvg-convert. Throws Error if it fails.
bool write_png(const fs::path& png, const fs::path& svg) {
  const fs::path beside = png.string() + ".tmp";
  const int code = run_tool({"rsvg-convert", "--width", "1280", "--output", beside.string(), svg.string()});
  if (code == kNotFound) return false;
  std::error_code error;
  if (code == 0) fs::rename(beside, png, error);
  if (code != 0 || error) {
    fs::remove(beside, error);
    fail("cannot write {} with rsvg-convert: is there room, and may it be written?", png.string());
  }
  return true;
}

void make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  EK_CHECK(!error, "cannot create {}: {}", directory.string(), error.message());
}

}  // namespace

void write_report(const fs::path& directory, const Findings& findings, const data::Dataset& test) {
  const fs::path charts = directory / "charts", data = directory / "data";
  make_directory(charts);
  make_directory(data);
  for (const auto& [name, csv] : data_files(findings)) write_text(data / name, csv);

  const Pictures pictures = charts_of_study(findings);
  bool has_png = true;
  for (const auto& [name, picture] : pictures) {
    const fs::path svg = charts / (name + ".svg");
    write_text(svg, standalone_svg(picture));
    has_png = has_png && write_png(charts / (name + ".png"), svg);
  }
  if (!has_png) print_line("The charts are written as SVG only: for PNG install rsvg-convert (librsvg2-bin)");
  write_text(directory / "index.html", page(findings, pictures, test));
}

}  // namespace evenkeel::app
