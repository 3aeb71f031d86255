// The race detector, both ways: silent on correct kernels, which every build runs, and where it is built in
// it reports each race.
#include "catch.h"
#include "simt/device_array.h"
#include "simt/race_kernels.h"

namespace {

void check_cases(const std::vector<RaceCase>& cases) {
  for (const RaceCase& c : cases) {
    INFO(c.name);
    CHECK(simt::test::failure_of([&] { c.run(false); }) == "no failure");
#ifdef SIMT_RACE_DETECTOR
    if (c.expected == nullptr) continue;
    // Else that another order has another result would be reported first.
    simt::look_for_races_in_all_orders(true);
    const std::string report = simt::test::failure_of([&] { c.run(true); });
    simt::look_for_races_in_all_orders(false);
    CAPTURE(report);
    CHECK(report.find(c.expected) != std::string::npos);
    CHECK(simt::test::failure_of([&] { c.run(false); }) == "no failure");
#endif
  }
}

}  // namespace

TEST_CASE("shared memory") { check_cases(shared_memory_cases()); }
TEST_CASE("global memory") { check_cases(global_memory_cases()); }
TEST_CASE("grid groups") { check_cases(grid_group_cases()); }
TEST_CASE("clusters") { check_cases(cluster_cases()); }
