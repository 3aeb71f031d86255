#include "jobs.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

namespace evenkeel::app {
namespace {

/// A child process, and the pipe through which it says what went wrong.
struct Job {
  std::size_t number;
  pid_t process;
  int pipe;
  std::string message;
};

/// In the child: never returns.
[[noreturn]] void work(std::size_t number, int pipe, pid_t parent,
                       const std::function<void(std::size_t)>& child) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kFailure);  // it was killed before that
  const int nothing = open("/dev/null", O_RDWR);
  if (nothing >= 0) {
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
  }
  const Outcome outcome = outcome_of([&] { child(number); });
  for (std::size_t at = 0; at < outcome.message.size();) {
    const ssize_t n = write(pipe, outcome.message.data() + at, outcome.message.size() - at);
    if (n < 0 && errno != EINTR) break;
    if (n > 0) at += static_cast<std::size_t>(n);
  }
  _exit(outcome.exit_code);
}

Job start(std::size_t number, const std::function<void(std::size_t)>& child) {
  int ends[2];
  EK_CHECK(pipe2(ends, O_CLOEXEC) == 0, "a pipe to a child process: {}", std::strerror(errno));
  std::fflush(nullptr);  // what is buffered would be printed twice
  const pid_t parent = getpid(), process = fork();
  if (process == 0) {
    close(ends[0]);
    work(number, ends[1], parent, child);
  }
  const int error = errno;
  close(ends[1]);
  if (process < 0) {
    close(ends[0]);
    fail("a child process cannot be started: {}; use --jobs 1", std::strerror(error));
  }
  return {number, process, ends[0], ""};
}

/// Waits for some of the jobs to say something or to end, a while at most.
void wait_for_news(const std::vector<Job>& jobs) {
  std::vector<pollfd> pipes;
  for (const Job& job : jobs) pipes.push_back({job.pipe, POLLIN, 0});
  poll(pipes.data(), pipes.size(), 200);
}

/// Takes in what the job has said; true if it has ended, which is when its pipe is closed.
bool has_ended(Job& job) {
  pollfd pipe{job.pipe, POLLIN, 0};
  while (poll(&pipe, 1, 0) > 0) {
    char text[4096];
    const ssize_t n = read(job.pipe, text, sizeof text);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    job.message.append(text, static_cast<std::size_t>(n));
  }
  return false;
}

JobEnd end_of(const Job& job, bool asked_to_stop) {
  int status = 0;
  while (waitpid(job.process, &status, 0) < 0 && errno == EINTR) {
  }
  close(job.pipe);
  JobEnd end{0, false, job.message};
  if (WIFSIGNALED(status)) {
    end.exit_code = 128 + WTERMSIG(status);
    end.crashed = !asked_to_stop;
    if (end.message.empty()) end.message = fmt::format("its process ended by signal {}", WTERMSIG(status));
  } else {
    end.exit_code = WEXITSTATUS(status);
  }
  return end;
}

}  // namespace

void run_jobs(std::size_t count, std::size_t at_once, const std::function<void(std::size_t)>& child,
              const std::function<void(std::size_t)>& started,
              const std::function<bool(std::size_t, const JobEnd&)>& ended) {
  std::vector<Job> jobs;
  std::size_t next = 0;
  bool goes_on = true, asked_to_stop = false;
  while (!jobs.empty() || (goes_on && next < count)) {
    while (goes_on && signal_received() == 0 && next < count && jobs.size() < at_once) {
      started(next);
      jobs.push_back(start(next, child));
      ++next;
    }
    if (signal_received() != 0 && !asked_to_stop) {
      goes_on = false;
      asked_to_stop = true;
      for (const Job& job : jobs) kill(job.process, SIGTERM);
    }
    if (jobs.empty()) break;
    wait_for_news(jobs);
    for (std::size_t i = 0; i < jobs.size();) {
      if (!has_ended(jobs[i])) {
        ++i;
        continue;
      }
      const Job job = jobs[i];
      jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(i));
      if (!ended(job.number, end_of(job, asked_to_stop))) goes_on = false;
    }
  }
  if (const int number = signal_received())
    throw Interrupted(number, "while runs were trained side by side",
                      "they are saved: continue with the same command");
}

}  // namespace evenkeel::app
