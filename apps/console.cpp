#include "console.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "evenkeel/base/error.h"

namespace evenkeel::app {
namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";

std::atomic<int> output_error = 0;  // the first errno of stdout

/// Writes all of it, waiting where the other end has set the file to O_NONBLOCK. 0 or what errno says.
int write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd room = {file, POLLOUT, 0};
      poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool can_redraw(int file) {
  const std::string_view term = environment("TERM");
  return isatty(file) != 0 && !term.empty() && term != "dumb";
}

int terminal_columns() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string duration(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{}:{:02} min", s / 60, s % 60);
  return fmt::format("{}:{:02} h", s / 3600, s % 3600 / 60);
}

void print_text(std::string_view text) {
  const int error = write_all(STDOUT_FILENO, text);
  int none = 0;
  if (error != 0) output_error.compare_exchange_strong(none, error);
}

void print_line(const std::string& line) { print_text(line + "\n"); }

void check_output() {
  if (const int error = output_error) {
    fail("cannot write to standard output ({}): what was to be printed is lost, files are not",
         std::strerror(error));
  }
}

void print_error(std::string_view text) { write_all(STDERR_FILENO, text); }

EpochProgress::EpochProgress(EpochSize size, bool quiet)
    : size_(size),
      bar_(!quiet && can_redraw(STDERR_FILENO)),
      lines_(!quiet && !(bar_ && isatty(STDOUT_FILENO) != 0)) {}

EpochProgress::~EpochProgress() {
  if (bar_) print_error(kClearLine);
}

void EpochProgress::step(std::int64_t steps_done) {
  if (!bar_ || clock_.seconds() < next_draw_) return;
  draw(steps_done);
  next_draw_ = clock_.seconds() + 0.1;
}

void EpochProgress::loss(std::int64_t step, double loss) {
  loss_ = fmt::format("  loss {:.4f}", loss);
  if (!lines_) return;
  const std::int64_t seen = step * size_.batch_size;
  print_line(fmt::format("Train Epoch: {} [{}/{} ({:.0f}%)]\tLoss: {:.6f}", size_.epoch, seen, size_.images,
                         100.0 * static_cast<double>(seen) / static_cast<double>(size_.images), loss));
}

void EpochProgress::draw(std::int64_t steps_done) const {
  const double done = static_cast<double>(steps_done) / static_cast<double>(size_.steps);
  const double per_step = clock_.seconds() / static_cast<double>(steps_done - size_.first);
  const std::string before = fmt::format("Epoch {}/{} ", size_.epoch, size_.epochs);
  const std::string after = fmt::format(
      " {:3.0f}%  {:.0f} images/s  {} left{}", 100 * done, static_cast<double>(size_.batch_size) / per_step,
      duration(per_step * static_cast<double>(size_.steps - steps_done)), loss_);
  // Shorter than the line, which would otherwise wrap and scroll.
  const int room = terminal_columns() - 1 - static_cast<int>(before.size() + after.size());
  const int width = std::clamp(room, 0, 40);
  const int full = static_cast<int>(done * width);
  const bool color = environment("NO_COLOR").empty();
  const std::string bar = fmt::format("{}{:#>{}}{}{:.>{}}", color ? "\x1b[32m" : "", "", full,
                                      color ? "\x1b[0m" : "", "", width - full);
  print_error(std::string(kClearLine) +
              (room < 0 ? (before + after).substr(0, terminal_columns() - 1) : before + bar + after));
}

}  // namespace evenkeel::app
