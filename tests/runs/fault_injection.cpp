// A library to preload: lets the n-th file operation below a folder fail, or kills the process there.
//
//     LD_PRELOAD=libfault_injection.so FAULT_BELOW=/folder FAULT_AT=7 FAULT_DO=kill PROGRAM
//
// FAULT_BELOW: absolute; operations on files whose name has it, and on descriptors opened by such a name,
// count. FAULT_AT: which operation, counted from 1. FAULT_DO: "kill" kills before it, "after" behind it,
// "torn" after half of what it writes; a number makes it fail with that errno. FAULT_LOG: a file that gets a
// line for each operation. FAULT_NO_DIRECTORY_LOCKS=1: flock of a directory fails as on NFS.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr int kMostFiles = 1024;
std::atomic<int> operations = 0;
std::atomic<bool> is_below[kMostFiles];  // by descriptor

const char* setting(const char* name) {
  const char* value = getenv(name);
  return value != nullptr ? value : "";
}

template <typename F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

bool counts(const char* path) {
  static const std::string below = setting("FAULT_BELOW");
  char place[4096];
  std::string full = path;
  if (path[0] != '/' && getcwd(place, sizeof place) != nullptr) full = std::string(place) + "/" + path;
  return !below.empty() && full.find(below) == 0;
}
bool counts(int fd) { return fd >= 0 && fd < kMostFiles && is_below[fd]; }

void log(const char* operation, const char* path) {
  static const int file = next<int (*)(const char*, int, ...)>("open")(
      setting("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  char line[4200];
  const int size = snprintf(line, sizeof line, "%s %s\n", operation, path);
  if (file >= 0 && next<ssize_t (*)(int, const void*, size_t)>("write")(file, line, size) != size) abort();
}

void die() {
  raise(SIGKILL);
  _exit(137);
}

enum class Fault { none, fail, after, torn };

/// What is to happen to the operation that begins now; does not return if that is death.
Fault fault(const char* operation, const char* path) {
  static const int at = atoi(setting("FAULT_AT"));
  static const std::string what = setting("FAULT_DO");
  log(operation, path);
  if (++operations != at) return Fault::none;
  if (what == "after") return Fault::after;
  if (what == "torn") return Fault::torn;
  if (what == "kill") die();
  errno = atoi(what.c_str());
  return Fault::fail;
}

/// Calls `call` unless it is to fail.
template <typename T, typename F>
T operate(const char* operation, const char* path, T failed, F call) {
  const Fault f = fault(operation, path);
  if (f == Fault::fail) return failed;
  if (f == Fault::torn) die();
  const T result = call();
  if (f == Fault::after) die();
  return result;
}

int open_counted(const char* name, const char* path, int flags, mode_t mode) {
  const auto call = [&] { return next<int (*)(const char*, int, ...)>(name)(path, flags, mode); };
  if (!counts(path)) return call();
  const int fd = operate(name, path, -1, call);
  if (fd >= 0 && fd < kMostFiles) is_below[fd] = true;
  return fd;
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_counted("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_counted("open64", path, flags, mode);
}

ssize_t write(int fd, const void* bytes, size_t n) {
  const auto call = next<ssize_t (*)(int, const void*, size_t)>("write");
  if (!counts(fd)) return call(fd, bytes, n);
  const Fault f = fault("write", "");
  if (f == Fault::fail) return -1;
  const ssize_t written = call(fd, bytes, f == Fault::torn ? n / 2 : n);
  if (f != Fault::none) die();
  return written;
}

int fsync(int fd) {
  const auto call = [fd] { return next<int (*)(int)>("fsync")(fd); };
  return counts(fd) ? operate("fsync", "", -1, call) : call();
}

int close(int fd) {
  const auto call = [fd] { return next<int (*)(int)>("close")(fd); };
  if (!counts(fd)) return call();
  is_below[fd] = false;
  const Fault f = fault("close", "");
  const int error = errno;
  const int result = call();  // a close that fails closes, too
  if (f == Fault::after || f == Fault::torn) die();
  errno = error;
  return f == Fault::fail ? -1 : result;
}

int flock(int fd, int operation) {
  struct stat status = {};
  if (*setting("FAULT_NO_DIRECTORY_LOCKS") == '1' && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
    errno = EBADF;
    return -1;
  }
  const auto call = [=] { return next<int (*)(int, int)>("flock")(fd, operation); };
  return counts(fd) ? operate("flock", "", -1, call) : call();
}

int mkdir(const char* path, mode_t mode) {
  const auto call = [=] { return next<int (*)(const char*, mode_t)>("mkdir")(path, mode); };
  return counts(path) ? operate("mkdir", path, -1, call) : call();
}

int rename(const char* from, const char* to) {
  const auto call = [=] { return next<int (*)(const char*, const char*)>("rename")(from, to); };
  return counts(to) ? operate("rename", to, -1, call) : call();
}

int unlink(const char* path) {
  const auto call = [=] { return next<int (*)(const char*)>("unlink")(path); };
  return counts(path) ? operate("unlink", path, -1, call) : call();
}

int rmdir(const char* path) {
  const auto call = [=] { return next<int (*)(const char*)>("rmdir")(path); };
  return counts(path) ? operate("rmdir", path, -1, call) : call();
}

}  // extern "C"
