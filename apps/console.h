// What a person sees while a program works.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace evenkeel::app {

/// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// "8 s", "4:03 min" or "2:10 h".
std::string duration(double seconds);

/// Prints on stdout at once, also into a pipe. What cannot be written is lost, and the first error kept for
/// check_output: no result of hours is given up because a terminal or a pipe is gone.
void print_text(std::string_view text);
void print_line(const std::string& line);
/// Throws Error if something could not be printed on stdout.
void check_output();
/// Prints on stderr. What cannot be written is lost: there is nowhere left to say so but the exit code.
void print_error(std::string_view text);

struct EpochSize {
  int epoch, epochs;    // this one, counted from 1, and all
  std::int64_t first;   // step of this epoch from which it is trained, counted from 0
  std::int64_t steps;   // of this epoch
  std::int64_t images;  // in the training set
  std::int64_t batch_size;
};

/// The progress of one epoch: a bar with rate and time left where stderr is a terminal that can show one, and
/// PyTorch's "Train Epoch" lines on stdout, unless that is the terminal with the bar. NO_COLOR is honoured.
class EpochProgress {
 public:
  EpochProgress(EpochSize size, bool quiet);
  /// Takes the bar away.
  ~EpochProgress();
  EpochProgress(const EpochProgress&) = delete;
  EpochProgress& operator=(const EpochProgress&) = delete;

  /// After each step; draws ten times a second at most.
  void step(std::int64_t steps_done);
  /// The loss of the batch that step `step`, counted from 0, trained on.
  void loss(std::int64_t step, double loss);

 private:
  void draw(std::int64_t steps_done) const;

  EpochSize size_;
  bool bar_, lines_;
  std::string loss_;
  Stopwatch clock_;
  double next_draw_ = 0;
};

}  // namespace evenkeel::app
