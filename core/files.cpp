#include "core/files.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/error.h"

namespace evenkeel {

void write_file_atomically(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write) {
  std::filesystem::path beside = file;
  beside += fmt::format(".{}.tmp", getpid());
  std::string problem;
  {
    errno = 0;
    std::ofstream out(beside, std::ios::binary);
    if (out) write(out);
    out.close();
    if (!out) problem = errno != 0 ? std::strerror(errno) : "writing failed";
  }
  std::error_code error;
  if (problem.empty()) std::filesystem::rename(beside, file, error);
  if (error) problem = error.message();
  if (problem.empty()) return;
  std::filesystem::remove(beside, error);
  fail("cannot write {} ({}): choose a folder that exists and has room", file.string(), problem);
}

}  // namespace evenkeel
