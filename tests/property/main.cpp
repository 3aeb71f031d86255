// test_property [--op NAME] [--seed N | random] [--cases N] [--device cpu|cuda] [--list] [--bits] [--write
// FOLDER]
//
// Runs N cases of every family, or of the one named, from seeds that follow on --seed (0). Each failure is a
// line, and before it the command that runs that case alone. The cases run in a child process, so that a
// crash or a case that does not end is a failure like others, and the rest still run. Exits with 1 if any
// failed, 77 without the device. --bits prints for each family a hash over the bits of all its results, which
// a change that is only about the code leaves as they are (tests/bits.sh).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "evenkeel/core/device.h"
#include "property/property.h"
#include "property/writer.h"

namespace evenkeel::property {
namespace {

constexpr int kSecondsPerCase = 60;

struct Options {
  std::string op, write, program;
  std::uint64_t seed = 0;
  long cases = 80;
  bool cuda = false, list = false, bits = false;
};

[[noreturn]] void usage(const std::string& what) {
  std::fprintf(
      stderr,
      "%s\nusage: test_property [--op NAME] [--seed N | random] [--cases N] [--device cpu|cuda] [--list] "
      "[--bits] [--write FOLDER]\n",
      what.c_str());
  std::exit(2);
}

template <typename T>
T number(std::string_view option, std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    usage(fmt::format("{} takes a number, not '{}'", option, text));
  return value;
}

Options parse(int argc, char** argv) {
  Options o;
  o.program = argv[0];
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--list") {
      o.list = true;
      continue;
    }
    if (name == "--bits") {
      o.bits = true;
      continue;
    }
    if (i + 1 == argc) usage(fmt::format("'{}' is unknown or lacks its value", name));
    const std::string_view value = argv[++i];
    if (name == "--op")
      o.op = value;
    else if (name == "--write")
      o.write = value;
    else if (name == "--seed" && value == "random")
      o.seed = std::random_device()() + 1000ULL;
    else if (name == "--seed")
      o.seed = number<std::uint64_t>(name, value);
    else if (name == "--cases")
      o.cases = number<long>(name, value);
    else if (name == "--device" && (value == "cpu" || value == "cuda"))
      o.cuda = value == "cuda";
    else
      usage(fmt::format("'{} {}' is unknown", name, value));
  }
  return o;
}

/// One case of one family.
struct Job {
  const Property* property;
  std::uint64_t seed;
};

std::string command_of(const Options& o, const Job& job) {
  return fmt::format("{} --op {} --seed {} --cases 1{}", o.program, job.property->name, job.seed,
                     o.cuda ? " --device cuda" : "");
}

/// Runs one case; prints what it found, and returns whether it passed.
bool run_case(const Options& o, const Job& job) {
  std::string found;
  try {
    Gen gen(job.seed, o.cuda ? Device::cuda() : Device::cpu());
    job.property->run(gen);
    return true;
  } catch (const Failure& failure) {
    found = failure.what();
  } catch (const std::exception& error) {
    found = fmt::format("an exception that the case did not expect: {}", error.what());
  }
  std::printf("%s\n    %s\n", command_of(o, job).c_str(), found.c_str());
  std::fflush(stdout);
  return false;
}

/// What the child that runs the cases tells its parent.
struct Progress {
  std::size_t next = 0;
  std::size_t failures = 0;
};

/// Runs the jobs from progress.next on in a child; false if it ended before they did.
bool run_in_child(const Options& o, const std::vector<Job>& jobs, Progress& progress) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) {
    std::perror("fork");
    std::exit(1);
  }
  if (child == 0) {
    while (progress.next < jobs.size()) {
      alarm(kSecondsPerCase);
      const Property* const property = jobs[progress.next].property;
      if (!run_case(o, jobs[progress.next])) ++progress.failures;
      ++progress.next;
      if (o.bits && (progress.next == jobs.size() || jobs[progress.next].property != property)) {
        std::printf("%s %016llx\n", property->name,
                    static_cast<unsigned long long>(std::exchange(bits_read, 1)));
      }
    }
    alarm(0);
    std::fflush(stdout);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (progress.next == jobs.size()) return true;
  ++progress.failures;
  const Job& job = jobs[progress.next++];
  const std::string how = WIFSIGNALED(status)
                              ? fmt::format("signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)))
                              : fmt::format("exit code {}", WEXITSTATUS(status));
  std::printf("%s\n    ended the process: %s\n", command_of(o, job).c_str(), how.c_str());
  return false;
}

std::vector<Job> jobs_of(const Options& o) {
  std::vector<Job> jobs;
  for (const Property& property : properties()) {
    if (!o.op.empty() && o.op != property.name) continue;
    for (long i = 0; i < o.cases; ++i) jobs.push_back({&property, o.seed + static_cast<std::uint64_t>(i)});
  }
  if (jobs.empty()) usage(fmt::format("no cases of '{}'; --list names the families", o.op));
  return jobs;
}

bool has_cuda() {
  // In a child, as a process that has used a device cannot fork.
  const pid_t child = fork();
  if (child == 0) _exit(cuda_devices().count > 0 ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int run(const Options& o) {
  if (o.list) {
    for (const Property& property : properties()) std::printf("%s\n", property.name);
    return 0;
  }
  const std::vector<Job> jobs = jobs_of(o);
  if (!o.write.empty()) {
    CaseWriter writer;
    case_writer = &writer;
    for (const Job& job : jobs) {
      try {
        Gen gen(job.seed, Device::cpu());
        job.property->run(gen);
      } catch (const std::exception&) {  // of families that call no single op, and are checked at once
      }
    }
    writer.save(o.write);
    return 0;
  }
  if (o.cuda && !has_cuda()) {
    std::printf("skipped: there is no CUDA device\n");
    return 77;
  }
  const auto begin = std::chrono::steady_clock::now();
  void* shared = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& progress = *new (shared) Progress;
  while (progress.next < jobs.size()) run_in_child(o, jobs, progress);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf("%zu of %zu cases failed, from seed %llu, %.1f s\n", progress.failures, jobs.size(),
              static_cast<unsigned long long>(o.seed), seconds.count());
  return progress.failures > 0 ? 1 : 0;
}

}  // namespace
}  // namespace evenkeel::property

int main(int argc, char** argv) {
  using namespace evenkeel::property;
  return run(parse(argc, argv));
}
