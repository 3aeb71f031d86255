#include "core/files.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/error.h"

namespace evenkeel {

void write_file_atomically(const std::filesystem::path& file,
                           const std::function<void(std::ostream&)>& write) {
  static std::atomic<int> count = 0;  // threads that write the same file do not share what lies beside it
  std::filesystem::path beside = file;
  beside += fmt::format(".{}-{}.tmp", getpid(), count++);
  std::error_code error;
  std::string problem;
  try {
    errno = 0;
    std::ofstream out(beside, std::ios::binary);
    if (out) write(out);
    out.close();
    if (!out) problem = errno != 0 ? std::strerror(errno) : "writing failed";
  } catch (...) {
    std::filesystem::remove(beside, error);
    throw;
  }
  if (problem.empty()) std::filesystem::rename(beside, file, error);
  if (error) problem = error.message();
  if (problem.empty()) return;
  std::filesystem::remove(beside, error);
  fail("cannot write {} ({}): choose a folder that exists and has room", file.string(), problem);
}

}  // namespace evenkeel
