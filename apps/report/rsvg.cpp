#include "report/rsvg.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "evenkeel/core/files.h"

extern char** environ;

namespace evenkeel::app {
namespace {

/// Starts rsvg-convert, which reads an SVG from one descriptor and writes to the other. Returns its process.
pid_t start(int svg, int png) {
  std::array<char*, 4> arguments = {const_cast<char*>("rsvg-convert"), const_cast<char*>("--width"),
                                    const_cast<char*>("1280"), nullptr};
  pid_t child = 0;
  posix_spawn_file_actions_t streams;
  posix_spawn_file_actions_init(&streams);
  posix_spawn_file_actions_adddup2(&streams, svg, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&streams, png, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&streams, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  const int error = posix_spawnp(&child, arguments[0], &streams, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&streams);
  if (error == ENOENT) fail("there is no rsvg-convert: install librsvg2-bin");
  if (error != 0) fail("rsvg-convert cannot be started ({})", std::strerror(error));
  return child;
}

std::string read_to_end(int fd) {
  std::string bytes;
  std::array<char, 1 << 16> part;
  while (true) {
    const ssize_t got = read(fd, part.data(), part.size());
    if (got > 0) bytes.append(part.data(), static_cast<std::size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) return bytes;
  }
}

/// True if the process ended with exit code 0.
bool succeeds(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

std::string png_of(const std::filesystem::path& svg) {
  const FileDescriptor in(open(svg.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<int, 2> ends = {-1, -1};
  if (!in || pipe2(ends.data(), O_CLOEXEC) != 0)
    fail("rsvg-convert cannot be started ({})", std::strerror(errno));
  const FileDescriptor read_end(ends[0]);
  FileDescriptor write_end(ends[1]);
  const pid_t child = start(in.get(), write_end.get());
  write_end.close();  // else what is read would have no end
  std::string png = read_to_end(read_end.get());
  if (!succeeds(child) || !png.starts_with("\x89PNG")) fail("rsvg-convert fails: try it on {}", svg.string());
  return png;
}

}  // namespace evenkeel::app
