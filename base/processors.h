// How many processors a program may use.
#pragma once

#include <filesystem>
#include <optional>

namespace evenkeel {

/// The CPU time that the control groups of this process allow it, in processors: a container's limit, for
/// example 1.5; the smallest of the group and those around it, cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us).
/// Nothing where there is no limit. Files are read below `root`, which tests replace.
std::optional<double> cgroup_processors(const std::filesystem::path& root = "/");

/// The processors that this process may run on, at most the limit of its control groups, rounded up; at least
/// 1.
int available_processors();

}  // namespace evenkeel
