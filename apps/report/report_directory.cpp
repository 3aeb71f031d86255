#include "report/report_directory.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "evenkeel/core/files.h"
#include "folder.h"
#include "program.h"
#include "report/charts_of_study.h"
#include "report/data_files.h"
#include "report/page.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

constexpr const char* kAdvice = "move it away or choose another --out";

/// One of the folders of a report, and the names that its files can have.
struct Folder {
  fs::path path;
  std::vector<std::string> files;

  bool has(const std::string& name) const {
    return std::find(files.begin(), files.end(), name) != files.end();
  }
};

Folder charts_folder(const fs::path& report) {
  Folder charts{report / "charts", {}};
  for (const std::string_view name : kChartNames) {
    for (const char* ending : {".svg", ".png"}) charts.files.push_back(std::string(name) + ending);
  }
  return charts;
}

std::vector<Folder> folders_of(const fs::path& report) {
  return {{report, {kPageFile}},
          charts_folder(report),
          {report / "data", {kDataFiles.begin(), kDataFiles.end()}}};
}

/// The type of the thing itself, not of what a link points to.
fs::file_type type_of(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type();
}

/// True if the name is that of a file which a kill has left half written.
bool is_half_written(const std::string& name, const Folder& folder) {
  return std::any_of(folder.files.begin(), folder.files.end(), [&](const std::string& file) {
    const bool left_by_version_0_1 = file.ends_with(".png") && name == file + ".tmp";
    return left_by_version_0_1 || is_left_by_write(name, file);
  });
}

/// True if the folder has a page of ours, which is there before all else; or nothing but what a kill left of
/// it.
bool is_ours(const Folder& report) {
  const std::vector<std::string> names = names_in(report.path);
  if (std::find(names.begin(), names.end(), kPageFile) == names.end()) {
    return std::all_of(names.begin(), names.end(),
                       [&](const std::string& name) { return is_half_written(name, report); });
  }
  constexpr std::size_t kHead = 4096;  // its title is in there
  const fs::path page = report.path / kPageFile;
  return reading(page, kAdvice, [&] {
    std::string head(kHead, '\0');
    head.resize(InputFile(page).read(head.data(), head.size()));
    return is_page(head);
  });
}

/// Throws unless the folder has files where the report writes files, and elsewhere files or folders.
void check_entries(const Folder& folder) {
  for (const std::string& name : names_in(folder.path)) {
    const fs::path entry = folder.path / name;
    const fs::file_type type = type_of(entry);
    if (type == fs::file_type::regular || (type == fs::file_type::directory && !folder.has(name))) continue;
    fail<UsageError>("{} is no regular file: {}", entry.string(), kAdvice);
  }
}

}  // namespace

void check_report_directory(const fs::path& report) {
  for (const Folder& folder : folders_of(report)) {
    const fs::file_type type = type_of(folder.path);
    if (type == fs::file_type::not_found) continue;
    if (type != fs::file_type::directory)
      fail<UsageError>("{} is no folder, where the report is to be written: {}", folder.path.string(),
                       kAdvice);
    check_entries(folder);
    if (access(folder.path.c_str(), W_OK | X_OK) != 0)
      fail("cannot write to {} ({}): {}", folder.path.string(), std::strerror(errno), kAdvice);
  }
  if (!is_ours(folders_of(report).front()))
    fail<UsageError>("{} holds files that are not of a report of this program: {}", report.string(), kAdvice);
}

void remove_half_written(const fs::path& report) {
  for (const Folder& folder : folders_of(report)) {
    for (const std::string& name : names_in(folder.path)) {
      const fs::path file = folder.path / name;
      if (is_half_written(name, folder) && is_regular(file)) remove_file(file);
    }
  }
}

void remove_charts(const fs::path& report, const std::set<std::string>& kept) {
  const Folder charts = charts_folder(report);
  for (const std::string& name : charts.files) {
    if (!kept.contains(name)) remove_file(charts.path / name);
  }
}

}  // namespace evenkeel::app
