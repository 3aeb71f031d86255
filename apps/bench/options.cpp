#include "bench/options.h"

#include <algorithm>
#include <functional>

#include "command_line.h"
#include "program.h"

namespace evenkeel::bench {
namespace {

using app::UsageError;

constexpr std::int64_t kMostElements = 1 << 30;
constexpr DType kDTypes[] = {DType::f32, DType::f64, DType::bf16, DType::f16};

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (const Op& op : ops()) names.push_back(op.name);
  return names;
}

std::vector<std::string> parse_ops(const std::string& text) {
  const std::vector<std::string> known = op_names();
  return app::parse_list(text, [&](const std::string& name) {
    EK_CHECK(std::count(known.begin(), known.end(), name) > 0, "unknown op '{}': use some of {}", name,
             fmt::join(known, ", "));
    return name;
  });
}

Shape parse_shape(const std::string& text) {
  Shape shape;
  double elements = 1;
  try {
    for (const std::string& part : app::split_list(text)) {
      EK_CHECK(shape.rank() < 4, "too many axes");
      const auto size = app::parse_number<std::int64_t>(part, 1, kMostElements);
      shape.push_back(size);
      elements *= static_cast<double>(size);
    }
    EK_CHECK(elements <= static_cast<double>(kMostElements), "too large");
  } catch (const Error&) {
    fail<UsageError>(
        "--shape: '{}' is no shape: use up to 4 sizes above 0 like 64,16,10,10, with at most 2^30 elements",
        text);
  }
  return shape;
}

DType parse_dtype(const std::string& name) {
  const auto found = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                  [&](DType dtype) { return name_of(dtype) == name; });
  EK_CHECK(found != std::end(kDTypes), "unknown type '{}': use some of f32, f64, bf16, f16", name);
  return *found;
}

bool matches(const Row& row, const std::vector<std::string>& variants) {
  return variants.empty() || std::any_of(variants.begin(), variants.end(), [&](const std::string& word) {
           return row.layout == word || row.variant.find(word) != std::string::npos;
         });
}

/// The op's listed rows, of these shapes if there are any; a shape that is not listed is made.
std::vector<Row> rows_of(const Op& op, const Kind& kind, const std::vector<Shape>& shapes) {
  const std::vector<Row> listed = op.listed(kind);
  if (shapes.empty()) return listed;
  std::vector<Row> rows;
  for (const Shape& shape : shapes) {
    const std::size_t before = rows.size();
    std::copy_if(listed.begin(), listed.end(), std::back_inserter(rows),
                 [&](const Row& row) { return row.shape == shape; });
    if (rows.size() > before) continue;
    for (Row& row : op.at(kind, shape)) rows.push_back(std::move(row));
  }
  return rows;
}

void check(const Options& o) {
  for (const auto& file : o.peer_json) {
    if (file.empty()) fail<UsageError>("--peer-json: the name is empty");
  }
  if (o.list && !o.peer_json.empty())
    fail<UsageError>("--list with --peer-json: nothing is measured that could be compared; leave one out");
  o.device.require_available();
  for (const DType dtype : o.dtypes) {
    if (is_16bit(dtype) && o.device.is_cpu())
      fail<UsageError>("--dtype {}: 16-bit types are computed on CUDA devices only; use --device cuda",
                       name_of(dtype));
  }
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv) {
  Options o;
  o.device = Device::best();
  CLI::App cli("Times every kernel at the network's shapes and at large ones, and checks its results.",
               "bench_norms");
  app::set_conventions(cli);
  cli.footer(
      "Examples: bench_norms --device cpu --op batch_norm,group_norm --json bench.json\n"
      "          bench_norms --op conv2d --shape 32,16,20,20 --dtype f64\n"
      "The columns are explained in docs/benchmarks/README.md. Exit code 1: a row failed its checks.");
  const auto add = [&](const char* name, auto parse, const char* description, const char* by_default) {
    return app::add_parsed(cli, name, parse, description, by_default);
  };
  app::add_switch(cli, "--list", o.list,
                  "Print the rows and measure nothing; with --json, also write them to a file for "
                  "scripts/peer_torch.py");
  add(
      "--op", [&](const std::string& text) { o.ops = parse_ops(text); },
      "Ops, separated by commas; see --list", "all");
  add(
      "--variant", [&](const std::string& text) { o.variants = app::split_list(text); },
      "Rows with one of these words in variant or layout", "all");
  // A value each time that the option is given: else CLI11 takes "[x]" for a list.
  const auto add_repeated = [&](const char* name, const std::function<void(const std::string&)>& read,
                                const char* description) {
    const auto read_all = [read](const std::vector<std::string>& texts) {
      for (const std::string& text : texts) read(text);
    };
    cli.add_option_function<std::vector<std::string>>(name, read_all, description)
        ->take_all()
        ->allow_extra_args(false);
  };
  add_repeated(
      "--shape",
      [&o](const std::string& text) {
        const Shape shape = parse_shape(text);
        if (std::count(o.shapes.begin(), o.shapes.end(), shape) > 0)
          fail<UsageError>("--shape: {} is named twice", text);
        o.shapes.push_back(shape);
      },
      "Shape of x like 64,16,10,10, listed or not; may be repeated");
  add(
      "--dtype", [&](const std::string& text) { o.dtypes = app::parse_list(text, parse_dtype); },
      "Some of f32, f64 and, on CUDA devices for normalizations and conv2d, bf16 and f16", "f32");
  add(
      "--device", [&](const std::string& text) { o.device = Device::parse(text); },
      "auto, cpu, cuda or cuda:N", "auto")
      ->envname("EVENKEEL_DEVICE");
  app::add_threads(cli, o.threads);
  app::add_number<int>(cli, "--repeat", o.effort.repeat, 1, 100'000, "Samples of each statistic");
  app::add_number<double>(cli, "--min-time", o.effort.min_time, 0, 60,
                          "Seconds of each warm sample, at least");
  app::add_path(cli, "--json", o.json, "Write everything to this file");
  add_repeated(
      "--peer-json", [&o](const std::string& text) { o.peer_json.emplace_back(text); },
      "Compare with this file of scripts/peer_torch.py; may be repeated");
  if (!app::parse(cli, argc, argv)) return std::nullopt;
  check(o);
  return o;
}

std::vector<Row> selected_rows(const Options& o) {
  std::vector<Row> rows;
  for (const Op& op : ops()) {
    if (!o.ops.empty() && std::count(o.ops.begin(), o.ops.end(), op.name) == 0) continue;
    for (const DType dtype : o.dtypes) {
      if (is_16bit(dtype) && !op.stores_16bit) continue;
      for (Row& row : rows_of(op, {dtype, o.device}, o.shapes)) {
        if (matches(row, o.variants)) rows.push_back(std::move(row));
      }
    }
  }
  if (rows.empty())
    fail<UsageError>(
        "no row has such an op, variant, type and shape: bench_norms --list names those there are");
  return rows;
}

}  // namespace evenkeel::bench
