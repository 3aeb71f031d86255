#include "evenkeel/base/processors.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

/// The two numbers in the files of a group, in either version's form; a quota of -1 or "max" is none.
std::optional<double> limit_of(const fs::path& group) {
  std::string quota;
  double period = 0;
  if (std::ifstream both(group / "cpu.max"); both) {
    both >> quota >> period;
  } else {
    std::ifstream(group / "cpu.cfs_quota_us") >> quota;
    std::ifstream(group / "cpu.cfs_period_us") >> period;
  }
  char* end = nullptr;
  const double allowed = std::strtod(quota.c_str(), &end);
  if (quota.empty() || *end != '\0' || !(allowed > 0) || !(period > 0) || !std::isfinite(allowed))
    return std::nullopt;
  return allowed / period;
}

}  // namespace

std::optional<double> cgroup_processors(const fs::path& root) {
  std::optional<double> least;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/path", or "4:cpu,cpuacct:/path" in version 1
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    const fs::path mounted = root / "sys/fs/cgroup" / (controllers.empty() ? "" : "cpu");
    // A container often sees its own group as the root of all, whatever the path says.
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    while (true) {
      if (const std::optional<double> limit = limit_of(mounted / group))
        least = std::min(least.value_or(*limit), *limit);
      if (group.empty() || group == group.parent_path()) break;
      group = group.parent_path();
    }
  }
  return least;
}

int available_processors() {
  int n = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (const std::optional<double> limit = cgroup_processors())
    n = static_cast<int>(std::min(std::ceil(*limit), static_cast<double>(n)));
  return std::max(1, n);
}

}  // namespace evenkeel
