// Times every kernel and checks it: a row for each op, pass, type, layout and shape.
//
//     bench_norms --device cpu --op batch_norm --json bench.json
//
// docs/benchmarks/README.md explains the columns. Exit code 1: a row failed its checks.
#include <ostream>

#include "bench/measure.h"
#include "bench/options.h"
#include "bench/peer.h"
#include "bench/peer_file.h"
#include "bench/report.h"
#include "bench/requirements.h"
#include "console.h"
#include "evenkeel/core/files.h"
#include "program.h"

using namespace evenkeel;
using namespace evenkeel::bench;

namespace {

void write_json(const std::filesystem::path& file, const nlohmann::json& content) {
  if (file.empty()) return;
  write_file_atomically(file, [&](std::ostream& out) { out << content.dump(1) << '\n'; });
}

void list(const std::vector<Row>& rows, const Options& options) {
  nlohmann::json content = {{"rows", nlohmann::json::array()}};
  for (const Row& row : rows) {
    app::print_line(list_line(row));
    content["rows"].push_back(row.json());
  }
  write_json(options.json, content);
}

void run(const std::vector<Row>& rows, const Options& options) {
  Machine machine;
  machine.device = options.device;
  machine.threads = num_threads();
  std::vector<PeerFile> peer_files;
  std::vector<std::string> names;
  for (const auto& file : options.peer_json) names.push_back(peer_files.emplace_back(file, machine).name());
  machine = measure_machine(options.device);
  for (const std::string& text : machine.lines()) app::print_line(text);
  app::print_line(fmt::format("peers: {}; from a file: {}", peer_name(options.device),
                              names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
  app::print_line("");
  app::print_line(title());

  CacheFlush flush(options.device);
  nlohmann::json content = {{"machine", machine.json()},
                            {"built_in_peer", peer_name(options.device)},
                            {"repeat", options.effort.repeat},
                            {"min_time", options.effort.min_time},
                            {"rows", nlohmann::json::array()}};
  int failed = 0;
  for (const Row& row : rows) {
    app::stop_if_signalled("between two rows");
    Result result = measure(row, options.device, flush, options.effort);
    for (const PeerFile& file : peer_files) {
      if (const auto peer = file.find(row.json())) result.peers.push_back(*peer);
    }
    if (!result.ok()) ++failed;
    app::print_line(line(row, result, machine));
    content["rows"].push_back(json(row, result, machine));
  }
  write_json(options.json, content);
  if (failed > 0)
    fail("{} of {} rows failed their checks; the lines marked FAILED say which", failed, rows.size());
}

}  // namespace

int main(int argc, char** argv) {
  return app::run_program("bench_norms", [&] {
    const auto options = parse_options(argc, argv);
    if (!options) return;
    if (options->threads > 0) set_num_threads(options->threads);
    require_writable(options->json);
    const std::vector<Row> rows = selected_rows(*options);
    if (options->list) {
      list(rows, *options);
    } else {
      require_memory(rows);
      run(rows, *options);
    }
  });
}
