#include "fuzz/files.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace evenkeel::fuzz {
namespace {

/// A folder that goes with the process.
class Folder {
 public:
  Folder() {
    // In memory where there is room for it: files are written with fsync, which takes a disk its time.
    const bool memory = access("/dev/shm", W_OK) == 0;
    const std::filesystem::path parent = memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = (parent / "evenkeel-fuzz-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for temporary files: " + name);
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path path;
};

const std::filesystem::path& folder() {
  static const Folder one;
  return one.path;
}

}  // namespace

std::filesystem::path file_of(std::string_view bytes, const char* name) {
  std::filesystem::path file = folder() / name;
  std::ofstream out(file, std::ios::binary);
  out << bytes;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + file.string());
  return file;
}

std::filesystem::path written_file() { return folder() / "written"; }

}  // namespace evenkeel::fuzz
