#include "locked_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "program.h"

namespace fs = std::filesystem;

namespace evenkeel::app {
namespace {

/// Another program may remove what this one just made, if it made the directory above; then all is made
/// again.
constexpr int kAttempts = 100;

int try_flock(int fd) {
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

/// True if `fd` is what the name `path` stands for now.
bool is_same(int fd, const fs::path& path) {
  struct stat opened = {}, named = {};
  return fstat(fd, &opened) == 0 && stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

}  // namespace

LockedDirectory::LockedDirectory(const fs::path& directory) : path_(directory) {
  if (directory.empty()) fail<UsageError>("the name of the folder for results is empty: name one with --out");
  for (int attempt = 1;; ++attempt) {
    const int error = create();
    if (error == 0 && lock()) return;
    if (error != 0 && error != ENOENT) refuse("create", error);
    if (attempt == kAttempts) refuse("create", ENOENT);
  }
}

LockedDirectory::~LockedDirectory() {
  if (!is_in_place()) {
    created_.directories.clear();  // what has their names may be another program's
  } else if (!lock_file_.empty()) {
    unlink(lock_file_.c_str());
  }
}

bool LockedDirectory::is_in_place() const {
  return is_same(lock_.get(), lock_file_.empty() ? path_ : lock_file_);
}

void LockedDirectory::require_in_place() const {
  if (is_in_place()) return;
  fail(
      "the folder {} was moved or removed while the run was going on: continue where it is now with "
      "--resume, "
      "or start again",
      path_.string());
}

LockedDirectory::Created::~Created() {
  for (auto d = directories.rbegin(); d != directories.rend(); ++d) rmdir(d->c_str());
}

void LockedDirectory::refuse(const char* what, int error) const {
  fail("cannot {} {} ({}): choose another --out", what, path_.string(), std::strerror(error));
}

int LockedDirectory::create() {
  std::error_code ignored;
  fs::path part_of_it;
  for (const fs::path& name : path_) {
    const fs::path above = part_of_it;
    part_of_it /= name;
    if (mkdir(part_of_it.c_str(), 0777) == 0) {
      created_.directories.push_back(part_of_it);
      sync_directory(above);
    } else if (const int error = errno; error != EEXIST && !fs::is_directory(part_of_it, ignored)) {
      return error;
    }
  }
  return 0;
}

bool LockedDirectory::lock() {
  lock_ = FileDescriptor(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock_ && errno == ENOENT) return false;
  if (!lock_) refuse("open", errno);
  if (is_same(lock_.get(), "/"))
    fail<UsageError>("--out {} is the root directory: name a folder of its own", path_.string());
  const int error = try_flock(lock_.get());
  if (error == EBADF) return lock_file_instead();
  require_lock(error);
  return is_same(lock_.get(), path_);
}

/// Locks a file in the directory: NFS locks only what is open for writing, which a directory never is.
bool LockedDirectory::lock_file_instead() {
  const fs::path file = path_ / kLockFile;
  lock_ = FileDescriptor(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!lock_ && errno == ENOENT) return false;
  if (!lock_) refuse("lock", errno);
  require_lock(try_flock(lock_.get()));
  if (!is_same(lock_.get(), file)) return false;  // whoever held it has removed it
  lock_file_ = file;
  return true;
}

void LockedDirectory::require_lock(int error) {
  if (error == EWOULDBLOCK) {
    created_.directories.clear();  // they are the other program's now, though they may be empty yet
    fail<UsageError>("{} is in use by another program: wait until that has ended or choose another --out",
                     path_.string());
  }
  if (error != 0) refuse("lock", error);
}

}  // namespace evenkeel::app
