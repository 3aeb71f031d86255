#include "evenkeel/core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ostream>
#include <streambuf>

namespace fs = std::filesystem;

namespace evenkeel {
namespace {

/// Writes to a file descriptor, and keeps the first error.
class FileBuffer : public std::streambuf {
 public:
  explicit FileBuffer(int fd) : fd_(fd) { setp(bytes_.data(), bytes_.data() + bytes_.size()); }
  int error() const { return error_; }

 protected:
  int_type overflow(int_type c) override {
    if (!flush()) return traits_type::eof();
    return traits_type::eq_int_type(c, traits_type::eof()) ? traits_type::not_eof(c)
                                                           : sputc(traits_type::to_char_type(c));
  }
  int sync() override { return flush() ? 0 : -1; }

 private:
  bool flush() {
    for (const char* from = pbase(); from < pptr() && error_ == 0;) {
      const ssize_t written = ::write(fd_, from, static_cast<std::size_t>(pptr() - from));
      if (written >= 0) {
        from += written;
      } else if (errno != EINTR) {
        error_ = errno;
      }
    }
    setp(bytes_.data(), bytes_.data() + bytes_.size());
    return error_ == 0;
  }

  int fd_;
  int error_ = 0;
  std::array<char, 1 << 16> bytes_;
};

/// fsync; 0 or what errno says, and 0 where a filesystem cannot do it.
int sync_file(int fd) {
  if (fsync(fd) == 0 || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) return 0;
  return errno;
}

int sync_names_in(const fs::path& directory) {
  const FileDescriptor fd(
      open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) return sync_file(fd.get());
  return errno == EACCES ? 0 : errno;  // one that may be written to, but not read
}

/// 0 or what errno says. Whatever `write` throws passes.
int write_to(FileDescriptor& fd, const std::function<void(std::ostream&)>& write, Sync sync) {
  FileBuffer buffer(fd.get());
  std::ostream out(&buffer);
  write(out);
  out.flush();
  int error = buffer.error();
  if (error == 0 && !out) error = EIO;
  if (error == 0 && sync == Sync::yes) error = sync_file(fd.get());
  const int at_close = fd.close();
  return error != 0 ? error : at_close;
}

/// Opens a new file beside `file`, whose name goes to `beside`.
FileDescriptor open_beside(const fs::path& file, fs::path& beside) {
  static std::atomic<int> count = 0;  // threads that write the same file do not share what lies beside it
  FileDescriptor fd;
  do {
    beside = file;
    beside += fmt::format(".{}-{}.tmp", getpid(), count++);
    fd = FileDescriptor(open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  } while (!fd && errno == EEXIST);  // left by a killed process that had the same number
  return fd;
}

/// Puts what a chain of symbolic links ends in, whether that exists or not, in place of `file`. Returns 0 or
/// what errno says.
int follow_links(fs::path& file) {
  constexpr int kMostLinks = 40;  // as Linux has it
  std::error_code error;
  for (int i = 0; fs::is_symlink(file, error); ++i) {
    if (i == kMostLinks) return ELOOP;
    const fs::path target = fs::read_symlink(file, error);
    if (error) return error.value();
    file = file.parent_path() / target;
  }
  return 0;
}

/// Does what write_file_atomically does; returns 0 or what errno says.
int replace_file(fs::path file, const std::function<void(std::ostream&)>& write, Sync sync) {
  if (const int error = follow_links(file); error != 0) return error;
  fs::path beside;
  FileDescriptor fd = open_beside(file, beside);
  if (!fd) return errno;
  try {
    int error = write_to(fd, write, sync);
    if (error == 0 && rename(beside.c_str(), file.c_str()) != 0) error = errno;
    if (error != 0) {
      unlink(beside.c_str());
      return error;
    }
  } catch (...) {
    unlink(beside.c_str());
    throw;
  }
  return sync == Sync::yes ? sync_names_in(file.parent_path()) : 0;
}

[[noreturn]] void fail_to_write(const fs::path& file, int error) {
  fail("cannot write {} ({}): choose another name, in a folder that exists and has room", file.string(),
       std::strerror(error));
}

/// What `mode` of stat(2) says that something is.
const char* kind_of(mode_t mode) {
  return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

/// Throws Error if what is there is no file: a pipe may have no reader ever, and nobody means a device.
void require_file_or_nothing(const fs::path& file) {
  struct stat status = {};
  if (stat(file.c_str(), &status) != 0 || S_ISREG(status.st_mode)) return;
  fail("cannot write {}: it is {}, not a file; remove it or choose another name", file.string(),
       kind_of(status.st_mode));
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return '0' <= c && c <= '9'; });
}

}  // namespace

int FileDescriptor::close() {
  const int fd = std::exchange(fd_, -1);
  return fd < 0 || ::close(fd) == 0 || errno == EINTR ? 0 : errno;
}

void write_file_atomically(const fs::path& file, const std::function<void(std::ostream&)>& write, Sync sync) {
  require_file_or_nothing(file);
  if (const int error = replace_file(file, write, sync); error != 0) fail_to_write(file, error);
}

void check_can_write(const fs::path& file) {
  require_file_or_nothing(file);
  fs::path target = file, beside;
  int error = follow_links(target);
  if (error == 0) {
    if (open_beside(target, beside)) {
      unlink(beside.c_str());
    } else {
      error = errno;
    }
  }
  if (error != 0) fail_to_write(file, error);
}

bool is_left_by_write(std::string_view name, std::string_view file) {
  constexpr std::string_view kEnd = ".tmp";
  if (!name.starts_with(file) || !name.ends_with(kEnd)) return false;
  if (name.size() < file.size() + 1 + kEnd.size() || name[file.size()] != '.') return false;
  const std::string_view numbers = name.substr(file.size() + 1, name.size() - file.size() - 1 - kEnd.size());
  const std::size_t dash = numbers.find('-');
  return dash != std::string_view::npos && all_digits(numbers.substr(0, dash)) &&
         all_digits(numbers.substr(dash + 1));
}

void sync_directory(const fs::path& directory) {
  if (const int error = sync_names_in(directory); error != 0) {
    fail("cannot write the folder {} to disk ({}): check the disk", directory.string(), std::strerror(error));
  }
}

// Without O_NONBLOCK, opening a pipe waits for its writer; for regular files it changes nothing.
InputFile::InputFile(const std::filesystem::path& file)
    : descriptor_(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {
  if (!descriptor_) fail<Malformed>("cannot be opened: {}", std::strerror(errno));
  struct stat status = {};
  const bool known = fstat(descriptor_.get(), &status) == 0;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::uint64_t>(status.st_size);
    return;
  }
  const std::string problem =
      known ? fmt::format("it is {}, not a file", kind_of(status.st_mode)) : std::strerror(errno);
  fail<Malformed>("cannot be opened: {}", problem);
}

void InputFile::require_at_most(std::uint64_t bytes) const {
  if (size_ > bytes) fail<Malformed>("has {} bytes, far more than such a file can have", size_);
}

std::size_t InputFile::read(void* bytes, std::size_t n) {
  constexpr std::size_t kMost = 1 << 30;  // Linux reads less than 2 GiB at a time
  std::size_t done = 0;
  while (done < n) {
    const ssize_t got =
        ::read(descriptor_.get(), static_cast<char*>(bytes) + done, std::min(n - done, kMost));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail<Malformed>("cannot be read: {}", std::strerror(errno));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void fail_too_large(const std::filesystem::path& file, std::string_view advice) {
  fail<DataError>("{} needs more memory than there is; {}", file.string(), advice);
}

std::string read_text(const std::filesystem::path& file, std::size_t most_bytes) {
  InputFile in(file);
  in.require_at_most(most_bytes);
  std::string text(in.size(), '\0');
  text.resize(in.read(text.data(), text.size()));
  return text;
}

}  // namespace evenkeel
