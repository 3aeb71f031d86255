// Files that are either there, whole and on disk, or not there; and files that are read, whatever is in their
// place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "evenkeel/base/error.h"

namespace evenkeel {

/// Owns a file descriptor; -1 if there is none.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() { close(); }

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  /// Returns 0 or what errno says.
  int close();

 private:
  int fd_ = -1;
};

/// Whether a file survives a power failure from the moment at which it is written, or only a kill.
enum class Sync { yes, no };

/// Calls write(stream) on a file beside `file` and renames it: whoever is killed or fails leaves no half of a
/// file, and an older `file` untouched. With Sync::yes its bytes are on disk before the new name is, and the
/// name is when this returns. What a symbolic link points to is replaced, not the link. Throws Error,
/// with the reason, if it cannot be written, and if a device, a pipe or a directory has its name.
void write_file_atomically(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write,
                           Sync sync = Sync::yes);

/// Throws the Error that write_file_atomically would, if it is known now: makes a file beside `file` and
/// removes it. For programs that work for minutes before they write.
void check_can_write(const std::filesystem::path& file);

/// True if `name` is what a killed write_file_atomically leaves beside `file`: "FILE.<process>-<count>.tmp".
bool is_left_by_write(std::string_view name, std::string_view file);

/// Returns once the names in a directory are on disk: after a file was made, renamed or removed there. Throws
/// Error if that fails; filesystems that have no such call are taken at their word.
void sync_directory(const std::filesystem::path& directory);

/// What is wrong with a file, as the rest of a sentence that begins with its name: "is cut short".
struct Malformed : DataError {
  using DataError::DataError;
};

/// A regular file that is open for reading, from its start. Anything else is refused, as a pipe may never
/// end.
class InputFile {
 public:
  /// Throws Malformed if the file cannot be opened, or is none.
  explicit InputFile(const std::filesystem::path& file);

  /// In bytes, when it was opened.
  std::uint64_t size() const { return size_; }
  /// Throws Malformed if it has more.
  void require_at_most(std::uint64_t bytes) const;
  /// Reads up to n bytes and returns their number, which is below n only at the end. Throws Malformed if the
  /// system cannot.
  std::size_t read(void* bytes, std::size_t n);

 private:
  FileDescriptor descriptor_;
  std::uint64_t size_ = 0;
};

/// The content of a regular file of at most `most_bytes`. Throws Malformed.
std::string read_text(const std::filesystem::path& file, std::size_t most_bytes);

/// Throws the DataError of a file that is too large for the memory.
[[noreturn]] void fail_too_large(const std::filesystem::path& file, std::string_view advice);

/// Returns read(). Throws DataError, "FILE what is wrong with it; ADVICE", where that throws Malformed or
/// runs out of memory.
template <typename F>
auto reading(const std::filesystem::path& file, std::string_view advice, F read) -> decltype(read()) {
  try {
    return read();
  } catch (const Malformed& problem) {
    fail<DataError>("{} {}; {}", file.string(), problem.what(), advice);
  } catch (const OutOfMemory&) {
    fail_too_large(file, advice);
  } catch (const std::bad_alloc&) {
    fail_too_large(file, advice);
  } catch (const std::length_error&) {
    fail_too_large(file, advice);
  }
}

}  // namespace evenkeel
