#include "folder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "evenkeel/base/error.h"

namespace fs = std::filesystem;

namespace evenkeel::app {

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    fail("cannot read the folder {} ({}): move it away or choose another --out", folder.string(),
         error.message());
  std::sort(names.begin(), names.end());
  return names;
}

bool is_regular(const fs::path& file) {
  std::error_code ignored;
  return fs::symlink_status(file, ignored).type() == fs::file_type::regular;
}

void remove_file(const fs::path& file) {
  if (unlink(file.c_str()) != 0 && errno != ENOENT)
    fail("cannot remove {} ({}): may it be written?", file.string(), std::strerror(errno));
}

}  // namespace evenkeel::app
