// A directory that one process at a time works in.
#pragma once

#include <filesystem>
#include <vector>

#include "evenkeel/core/files.h"

namespace evenkeel::app {

/// The file that is locked where a directory cannot be. A kill leaves it behind; it says nothing.
inline constexpr const char* kLockFile = ".evenkeel.lock";

/// Holds a lock (flock) on a directory. The lock belongs to the directory, not to its name, leaves no file
/// behind and ends with the process, however that ends.
class LockedDirectory {
 public:
  /// Makes the directory and those above it that are missing, as `mkdir -p` does: names mean what they mean
  /// to the system, "link/.." is the directory above the one that the link points to. Throws UsageError if
  /// another program has it locked, if it is the root directory or has no name; Error if it cannot be made or
  /// locked.
  explicit LockedDirectory(const std::filesystem::path& directory);
  /// Removes the directories that it made, as far as they are empty, while it still has the lock.
  ~LockedDirectory();
  LockedDirectory(const LockedDirectory&) = delete;
  LockedDirectory& operator=(const LockedDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// False if path() is another directory by now, or none: this one was renamed or removed.
  bool is_in_place() const;
  /// Throws Error unless it is in place. To be called before anything in it is written or removed by name.
  void require_in_place() const;

 private:
  /// The directories that were made, outermost first.
  struct Created {
    std::vector<std::filesystem::path> directories;
    ~Created();
  };

  /// Returns 0 or what errno says.
  int create();
  /// False if the directory has been removed since it was made.
  bool lock();
  bool lock_file_instead();
  /// Throws unless `error`, of flock, is 0.
  void require_lock(int error);
  [[noreturn]] void refuse(const char* what, int error) const;

  std::filesystem::path path_;
  FileDescriptor lock_;
  std::filesystem::path lock_file_;  // only where a directory cannot be locked; else empty
  Created created_;                  // after lock_: it goes first
};

}  // namespace evenkeel::app
