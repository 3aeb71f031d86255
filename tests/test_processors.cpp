// The processors that a container allows: control groups of both versions, as files of a made-up system.
#include "evenkeel/base/processors.h"

#include <fstream>

#include "compare.h"
#include "evenkeel/core/device.h"

using namespace evenkeel;

namespace {

namespace fs = std::filesystem;

/// A system whose files are written below a fresh folder.
class FakeSystem {
 public:
  FakeSystem() {
    std::string name = (fs::temp_directory_path() / "evenkeel-cgroup-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    root_ = name;
  }
  ~FakeSystem() { fs::remove_all(root_); }
  FakeSystem(const FakeSystem&) = delete;
  FakeSystem& operator=(const FakeSystem&) = delete;

  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::optional<double> limit() const { return cgroup_processors(root_); }

 private:
  fs::path root_;
};

}  // namespace

TEST_CASE("a system without control groups has no limit") { CHECK_FALSE(FakeSystem().limit().has_value()); }

TEST_CASE("cgroup v2: the smallest limit of a group and those around it") {
  FakeSystem system;
  system.write("proc/self/cgroup", "0::/a/b\n");
  system.write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  CHECK_FALSE(system.limit().has_value());
  system.write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  CHECK(system.limit() == 1.5);
  system.write("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
  CHECK(system.limit() == 1.5);
  system.write("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
  CHECK(system.limit() == 0.5);
}

TEST_CASE("a container whose group is the root it sees") {
  FakeSystem system;
  system.write("proc/self/cgroup", "0::/somewhere/outside\n");
  system.write("sys/fs/cgroup/cpu.max", "200000 100000\n");
  CHECK(system.limit() == 2.0);
  system.write("proc/self/cgroup", "0::/\n");
  CHECK(system.limit() == 2.0);
}

TEST_CASE("cgroup v1: quota and period in files of their own") {
  FakeSystem system;
  system.write("proc/self/cgroup", "9:memory:/m\n4:cpuacct,cpu:/c\n");
  system.write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n");
  system.write("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
  CHECK_FALSE(system.limit().has_value());
  system.write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "300000\n");
  CHECK(system.limit() == 3.0);
}

TEST_CASE("files that say nothing are no limit") {
  for (const char* text : {"", "max", "x 100000", "100000", "100000 0", "0 100000", "-5 100000", "nan 100000",
                           "1e5x 7", "inf 100000"}) {
    INFO(text);
    FakeSystem system;
    system.write("proc/self/cgroup", "0::/\nrubbish\n:\n");
    system.write("sys/fs/cgroup/cpu.max", text);
    CHECK_FALSE(system.limit().has_value());
  }
}

TEST_CASE("there is at least one processor") { CHECK(available_processors() >= 1); }
