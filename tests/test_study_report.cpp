// What studies say that are too short, or that went wrong: made up, as their runs would take hours.
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>

#include "compare.h"
#include "files.h"
#include "program.h"
#include "report/answers.h"
#include "report/charts_of_study.h"
#include "report/limits.h"
#include "report/page.h"
#include "report/report.h"
#include "report/report_directory.h"

using namespace evenkeel;
using namespace evenkeel::app;
using namespace evenkeel::test;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int kImages = 40;

data::Dataset images() {
  std::vector<std::uint8_t> labels;
  for (int i = 0; i < kImages; ++i) labels.push_back(static_cast<std::uint8_t>(i % 10));
  return {zeros({kImages, 28, 28}, {DType::u8}), from_vector(labels, {kImages}), 0, 1};
}

/// A run that gets the first `wrong` images wrong.
RunResult run(const RunOptions& network, std::uint64_t seed, int wrong) {
  RunResult r{network, {}, {}, {{"conv", 100, 1, 2, 3.5}}};
  r.run.seed = seed;
  r.run.out = fmt::format("study/{}-seed{}", network.network(), seed);
  for (int i = 0; i < kImages; ++i) r.predictions.push_back({i % 10, (i + (i < wrong)) % 10, 0.25, 0.5});
  const double accuracy = 1 - wrong / static_cast<double>(kImages);
  for (int epoch = 1; epoch <= network.epochs; ++epoch) {
    r.rows.push_back({.epoch = epoch, .split = "train", .loss = 0.5, .accuracy = accuracy, .seconds = 1});
    r.rows.push_back({.epoch = epoch, .split = "test", .loss = 0.1 * wrong, .accuracy = accuracy});
  }
  return r;
}

/// A network with these numbers of wrong images for the seeds 1, 2, ...; without a run where it is negative.
NetworkResult network(mnist::Norm norm, int epochs, const std::vector<int>& wrong) {
  NetworkResult n;
  n.network.norm = norm;
  n.network.epochs = epochs;
  for (std::size_t i = 0; i < wrong.size(); ++i) {
    if (wrong[i] >= 0) n.runs.push_back(run(n.network, i + 1, wrong[i]));
  }
  return n;
}

std::vector<Diagnosis> diagnosis(double value) {
  const DiagnosisStep step{value, value, value, std::vector<double>(9, value)};
  return {{"ln-row", "rows", {step, step}}, {"ln", "widened", {step, step}}};
}

Findings findings(int seeds, int epochs, std::vector<NetworkResult> networks, double measured = 1) {
  Findings f;
  f.results.study.seeds = seeds;
  f.results.study.run.epochs = epochs;
  f.results.study.norms.clear();
  for (const NetworkResult& n : networks) f.results.study.norms.push_back(n.network.norm);
  f.results.networks = std::move(networks);
  f.diagnosis = diagnosis(measured);
  f.comparisons = compare(f.results.networks);
  return f;
}

std::string page_of(const Findings& f) { return page(f, charts_of_study(f), images()); }

/// The part of the page before the data of its script.
std::string visible(const Findings& f) {
  const std::string html = page_of(f);
  return html.substr(0, html.find("<script"));
}

bool has(const std::string& text, std::string_view words) { return text.find(words) != std::string::npos; }

/// No figure that is not finite, in the page, its charts or its files.
void check_finite(const Findings& f) {
  const std::string html = visible(f);
  for (const char* word : {">nan", "nan,", ",nan", "nan\"", "-nan", "inf\"", ">inf", " nan", " inf "}) {
    INFO(word);
    CHECK_FALSE(has(html.substr(html.find("<main>")), word));
    for (const auto& [name, csv] : data_files(f)) {
      INFO(name);
      CHECK_FALSE(has(csv, word));
    }
  }
}

/// A study that has a chart of each kind.
Findings all_charts() {
  Findings f = findings(1, 2, {network(mnist::Norm::gn, 2, {1})});
  f.results.batch_networks = {network(mnist::Norm::gn, 2, {1})};
  return f;
}

/// A report must be refused, in one line that names `entry`, before it is begun and where it is written.
void check_refused(const std::filesystem::path& report, const std::filesystem::path& entry) {
  INFO(entry.string());
  CHECK_THROWS_AS(check_report_directory(report), UsageError);
  CHECK_THROWS_AS(write_report(report, all_charts(), images()), UsageError);
  const std::string error = error_of([&] { check_report_directory(report); });
  CHECK(error.starts_with(entry.string() + " "));
  CHECK(error.ends_with(": move it away or choose another --out"));
}

}  // namespace

TEST_CASE("two seeds: no interval, no verdict, and a banner that says why") {
  const Findings f =
      findings(2, 1, {network(mnist::Norm::gn, 1, {3, 30}), network(mnist::Norm::ln, 1, {1, 2})});
  REQUIRE(f.comparisons.size() == 1);
  CHECK(f.comparisons[0].verdict == Verdict::too_few_seeds);
  CHECK(std::isnan(f.comparisons[0].difference.low));
  CHECK(std::isnan(summarize(f.results.networks[0], kAccuracyPercent).high));
  const std::string html = visible(f);
  CHECK(has(html, "1 epoch, not the 20 of the recipe"));
  CHECK(has(html, "2 seeds: a verdict takes 6 where so many pairs are compared, an interval takes 3"));
  CHECK_FALSE(has(html, "o difference shown"));
  CHECK_FALSE(has(html, "is more accurate"));
  check_finite(f);
}

TEST_CASE("accuracies that vary: their intervals end at 0 and 100") {
  const Findings f =
      findings(3, 20, {network(mnist::Norm::gn, 20, {0, 40, 0}), network(mnist::Norm::ln, 20, {40, 0, 40})});
  for (const NetworkResult& n : f.results.networks) {
    const Summary accuracy = summarize(n, kAccuracyPercent), wrong = summarize(n, kMisclassified);
    CHECK((accuracy.low == 0 && accuracy.high == 100));
    CHECK((wrong.low == 0 && wrong.high == kImages));
    CHECK(summarize(n, kTestLoss).low == 0);
  }
  CHECK((f.comparisons[0].difference.low == -100 && f.comparisons[0].difference.high == 100));
  for (const auto& [name, picture] : charts_of_study(f)) {
    INFO(name);
    for (const char* tick : {">-0", ">-2", ">-5", ">-1", ">120<", ">150<", ">200<"})
      CHECK_FALSE(has(picture.svg, tick));
  }
  check_finite(f);
}

TEST_CASE("constant values: an axis that ends at 100, and a test that was made") {
  const std::vector<int> all_right(10, 0);
  const Findings f =
      findings(10, 20, {network(mnist::Norm::gn, 20, all_right), network(mnist::Norm::ln, 20, all_right)});
  CHECK(f.comparisons[0].p_holm == 1);
  CHECK(f.comparisons[0].verdict == Verdict::no_difference);
  CHECK(limits(f).empty());
  CHECK_FALSE(has(visible(f), "id=\"limits\""));
  CHECK_FALSE(has(charts_of_study(f).at("accuracy").svg, ">100.2<"));
  CHECK(has(charts_of_study(f).at("accuracy").svg, ">100.0<"));
  check_finite(f);
}

TEST_CASE("one network: nothing is compared") {
  const Findings f = findings(3, 20, {network(mnist::Norm::bn, 20, {1, 2, 3})});
  CHECK(f.comparisons.empty());
  CHECK(limits(f) == std::vector<std::string>{"no pair of networks to compare"});
  CHECK_FALSE(has(visible(f), "o difference shown"));
  CHECK(has(visible(f), "nothing is tested"));
  check_finite(f);
}

TEST_CASE("networks are paired by the seeds that both have") {
  Findings f = findings(
      4, 20, {network(mnist::Norm::gn, 20, {1, 2, -1, 4}), network(mnist::Norm::ln, 20, {-1, 5, 6, 8})});
  REQUIRE(f.comparisons.size() == 1);
  CHECK(f.comparisons[0].seeds == 2);
  CHECK(f.comparisons[0].difference.mean == Approx(100 * 3.5 / kImages));
  f.results.failed = {{run(f.results.networks[0].network, 3, 0).run, "the loss of gn is too large"},
                      {run(f.results.networks[1].network, 1, 0).run, "the loss of ln is too large"}};
  CHECK(has(visible(f), "2 of 8 runs failed, the loss of gn is too large: gn with seed 3, ln with seed 1"));
  check_finite(f);

  const Findings apart =
      findings(2, 20, {network(mnist::Norm::gn, 20, {1, -1}), network(mnist::Norm::ln, 20, {-1, 5})});
  CHECK(apart.comparisons[0].verdict == Verdict::not_tested);
  CHECK(has(visible(apart), "not tested: no seed that both have"));
  CHECK_FALSE(has(visible(apart), "o difference shown"));
  check_finite(apart);
}

TEST_CASE("all runs diverged: a page that says so") {
  Findings f = findings(1, 20, {}, kNaN);
  f.results.study.norms = {mnist::Norm::bn};
  f.results.failed = {{run(RunOptions(), 1, 0).run, "the loss of bn is too large"}};
  const std::string html = page_of(f);
  CHECK(has(html, "1 of 1 run failed, the loss of bn is too large: bn with seed 1"));
  CHECK(has(html, "there are no figures"));
  CHECK_FALSE(has(html, "id=\"misclassified-grid\""));
  CHECK_FALSE(has(html, "= ln 10"));
  check_finite(f);
}

TEST_CASE("what max-steps and test-images leave out") {
  Findings f = findings(10, 20,
                        {network(mnist::Norm::gn, 20, std::vector<int>(10, 1)),
                         network(mnist::Norm::ln, 20, std::vector<int>(10, 2))});
  f.results.study.run.max_steps = 100;
  f.results.study.run.test_images = 500;
  CHECK(limits(f) == std::vector<std::string>{"every epoch ends after 100 of its 938 steps",
                                              "tested on the first 500 of 10000 images"});
  f.results.study.run.max_steps = 1000;
  f.results.study.run.test_images = 0;
  CHECK(limits(f).empty());
  f.results.study.batch_sizes = {64, 8};
  CHECK(limits(f) ==
        std::vector<std::string>{"every epoch ends after 1000 of its 7500 steps with batches of 8"});
}

TEST_CASE("networks of another batch size are compared, and answer the questions") {
  std::vector<NetworkResult> networks;
  for (const auto& [norm, l1] : {std::pair(mnist::Norm::bn, 1e-5), std::pair(mnist::Norm::gn, 0.0)}) {
    networks.push_back(network(norm, 1, {1, 2}));
    networks.back().network.batch_size = 32;
    networks.back().network.sgd.l1 = l1;
  }
  const Findings f = findings(2, 1, networks);
  REQUIRE(f.comparisons.size() == 1);
  CHECK(f.comparisons[0].a->name() == "bn-l1-b32");
  CHECK(has(visible(f), "<h3>Does L1 + batch norm beat group norm?</h3>\n<p>L1 + batch norm "));
  check_finite(f);
}

TEST_CASE("what a study does not have comes with the options that add it") {
  using mnist::Norm;
  const auto advice = [](const std::vector<Norm>& norms, const std::vector<Penalty>& penalties, double l1) {
    Findings f = findings(1, 1, {});
    f.results.study.norms = norms;
    f.results.study.penalties = penalties;
    f.results.study.run.sgd.l1 = l1;
    std::vector<std::string> all;
    for (const Answer& a : answers(f)) {
      const std::size_t begin = a.html.find("<code>"), end = a.html.find("</code>");
      if (has(a.html, "run it again with <code>")) all.push_back(a.html.substr(begin + 6, end - begin - 6));
    }
    REQUIRE(all.size() >= 2);
    return all[0] + "|" + all[1];
  };
  CHECK(advice({Norm::ln}, {}, 1e-5) == "--norms ln,bn,gn|--norms ln,bn,gn --penalties off,subgradient");
  CHECK(advice({Norm::bn, Norm::gn}, {Penalty::proximal}, 1e-5) ==
        "--penalties proximal,subgradient,off|--penalties proximal,off");
  CHECK(advice({Norm::bn}, {}, 0) == "--norms bn,gn --l1 1e-05|--norms bn,gn");
  CHECK(advice({Norm::gn}, {Penalty::off}, 0) ==
        "--norms gn,bn --penalties off,subgradient --l1 1e-05|--norms gn,bn");
  Findings failed = findings(1, 1, {});
  failed.results.study.norms = {Norm::bn, Norm::gn};
  failed.results.study.run.sgd.l1 = 1e-5;
  CHECK(has(answers(failed)[0].html, "the runs of a network that it takes failed"));
}

TEST_CASE("what momentum does to a penalty is said where there are both, and momentum") {
  const auto has_it = [](optim::L1Mode mode, double momentum) {
    NetworkResult n = network(mnist::Norm::bn, 1, {1});
    n.network.sgd = {.momentum = momentum, .l1 = 1e-5, .l1_mode = mode};
    Findings f = findings(1, 1, {n});
    f.results.study.run.sgd = n.network.sgd;
    CHECK(has(visible(f), "none stays there. The proximal step, soft thresholding, stops at 0"));
    return has(visible(f), "stops at 0; but with momentum 0.9 steps of the subgradient add up to 10 times");
  };
  CHECK(has_it(optim::L1Mode::proximal, 0.9));
  CHECK_FALSE(has_it(optim::L1Mode::proximal, 0));
  CHECK_FALSE(has_it(optim::L1Mode::subgradient, 0.9));
}

TEST_CASE("a report says what its runs were made with, and what differs") {
  Findings f = findings(2, 1, {network(mnist::Norm::gn, 1, {1, 2})});
  const auto config = [](const char* version, int threads) {
    return nlohmann::json{{"evenkeel", version}, {"compiler", "C++ <1>"},
                          {"build", "Release"},  {"device", "cpu"},
                          {"threads", threads},  {"recipe", nlohmann::json::object()}};
  };
  std::vector<RunResult>& runs = f.results.networks[0].runs;
  for (RunResult& r : runs) r.config = config("0.0.1", 2000);
  const std::string made = "Evenkeel 0.0.1, C++ &lt;1&gt;, Release, device cpu, <span data-timing>";
  CHECK(has(page_of(f), "Runs: " + made + "2000 CPU threads</span>. This page: Evenkeel "));
  runs[1].config = config("0.0.1", 1);
  CHECK(has(page_of(f),
            "Runs: 1 of them " + made + "1 CPU thread</span>; 1 of them " + made + "2000 CPU threads"));
  runs[1].config = {{"evenkeel", 7}};
  CHECK(has(page_of(f), "1 of them Evenkeel 7, unknown, unknown, device unknown, "));
}

TEST_CASE("the files of a report are known by name") {
  const Findings f = all_charts();
  std::set<std::string> charts, files;
  for (const auto& [name, picture] : charts_of_study(f)) charts.insert(name);
  for (const auto& [name, csv] : data_files(f)) files.insert(name);
  CHECK(charts == std::set<std::string>(kChartNames.begin(), kChartNames.end()));
  CHECK(files == std::set<std::string>(kDataFiles.begin(), kDataFiles.end()));
}

TEST_CASE("pages are known, those of other versions too") {
  CHECK(is_page(page_of(all_charts()).substr(0, 4096)));
  CHECK(is_page(unfinished_page()));
  CHECK(is_page(
      "<head>\n<title>Which normalization? One Fashion-MNIST network, everything else equal</title>"));
  CHECK_FALSE(is_page("<head>\n<title>My work</title>\n<p>Which normalization? One MNIST network</p>"));
  CHECK_FALSE(is_page(""));
}

TEST_CASE("a report replaces an earlier one, its charts too, and nothing else") {
  const TempDir dir;
  const std::filesystem::path report = dir / "report", charts = report / "charts", data = report / "data";
  write_report(report, all_charts(), images());
  for (const std::string_view name : kChartNames)
    CHECK(std::filesystem::exists(charts / (std::string(name) + ".svg")));
  // A kill leaves these; the one of charts/ was left by version 0.1.
  for (const auto& file :
       {report / "index.html.12-3.tmp", data / "runs.csv.1-0.tmp", charts / "logits.svg.1-20.tmp",
        charts / "logits.png.1-20.tmp", charts / "gradients.png.tmp"})
    write_file(file, "half");
  const std::vector<std::filesystem::path> others = {report / "notes",        data / "my.csv",
                                                     data / "my.csv.1-0.tmp", data / "runs.csv.tmp",
                                                     charts / "my.svg",       charts / "my.png.tmp"};
  for (const auto& file : others) write_file(file, "mine");
  std::filesystem::create_directory(report / "more");

  const Findings none_learns = findings(1, 2, {network(mnist::Norm::ln_row, 2, {kImages})});
  write_report(report, none_learns, images());
  CHECK(read_file(report / "index.html") == page(none_learns, charts_of_study(none_learns), images()));
  for (const auto& file : others) CHECK(read_file(file) == "mine");
  for (const char* name : {"accuracy.svg", "accuracy.png", "batch-size.svg", "train-loss.png"})
    CHECK_FALSE(std::filesystem::exists(charts / name));
  CHECK(std::filesystem::exists(charts / "test-loss.svg"));
  std::size_t half_written = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(report))
    half_written += entry.is_regular_file() && read_file(entry.path()) == "half";
  CHECK(half_written == 0);
}

TEST_CASE("a report goes on where a kill has left it") {
  const TempDir dir;
  check_report_directory(dir / "none");
  check_report_directory(dir.path());
  write_file(dir / "index.html.12-3.tmp", "half");  // the first file that is written
  check_report_directory(dir.path());
  write_file(dir / "index.html", unfinished_page());
  std::filesystem::create_directory(dir / "data");
  write_file(dir / "data/runs.csv", "half of them");
  check_report_directory(dir.path());
}

TEST_CASE("a report is not written where something else is") {
  const TempDir dir;
  const auto new_folder = [&](const std::string& name) {
    std::filesystem::create_directories(dir / name / "data");
    std::filesystem::create_directory(dir / name / "charts");
    return dir / name;
  };
  const auto page_in = [](const std::filesystem::path& report) {
    write_file(report / "index.html", unfinished_page());
    return report;
  };
  write_file(dir / "file", "mine");
  check_refused(dir / "file", dir / "file");
  std::filesystem::create_symlink("nowhere", dir / "dangling");
  check_refused(dir / "dangling", dir / "dangling");
  std::filesystem::create_directory_symlink(page_in(new_folder("elsewhere")), dir / "link");
  check_refused(dir / "link", dir / "link");

  write_file(new_folder("page") / "index.html", "precious");
  check_refused(dir / "page", dir / "page");
  write_file(new_folder("table") / "data/runs.csv", "mine");
  check_refused(dir / "table", dir / "table");
  CHECK(read_file(dir / "page/index.html") == "precious");
  CHECK(read_file(dir / "table/data/runs.csv") == "mine");

  std::filesystem::create_symlink(dir / "file", new_folder("linked") / "index.html");
  check_refused(dir / "linked", dir / "linked/index.html");
  CHECK(read_file(dir / "file") == "mine");
  std::filesystem::create_directory(new_folder("folder") / "index.html");
  check_refused(dir / "folder", dir / "folder/index.html");
  REQUIRE(mkfifo((new_folder("pipe") / "index.html").c_str(), 0600) == 0);
  check_refused(dir / "pipe", dir / "pipe/index.html");
  std::filesystem::create_directory(page_in(new_folder("deep")) / "data/runs.csv");
  check_refused(dir / "deep", dir / "deep/data/runs.csv");
  std::filesystem::create_symlink(dir / "file", page_in(new_folder("chart")) / "charts/logits.svg");
  check_refused(dir / "chart", dir / "chart/charts/logits.svg");
  std::filesystem::remove(page_in(new_folder("no-folder")) / "charts");
  write_file(dir / "no-folder/charts", "mine");
  check_refused(dir / "no-folder", dir / "no-folder/charts");
}

TEST_CASE("an rsvg-convert that fails costs the PNGs and nothing else") {
  const TempDir dir;
  const std::filesystem::path report = dir / "report", tool = dir / "rsvg-convert";
  const std::string path = std::getenv("PATH");
  const Findings f = all_charts();
  for (const char* script : {"exit 1", "exit 0", "printf '\\211PNG'; kill -9 $$", "echo no picture"}) {
    INFO(script);
    write_file(tool, fmt::format("#!/bin/sh\n{}\n", script));
    std::filesystem::permissions(tool, std::filesystem::perms::owner_all);
    std::filesystem::create_directories(report / "charts");
    write_file(report / "index.html", unfinished_page());
    write_file(report / "charts/logits.png", "of an earlier report");
    setenv("PATH", (dir.path().string() + ":" + path).c_str(), 1);
    write_report(report, f, images());
    setenv("PATH", path.c_str(), 1);
    CHECK(read_file(report / "index.html") == page(f, charts_of_study(f), images()));
    for (const auto& entry : std::filesystem::directory_iterator(report / "charts"))
      CHECK(entry.path().extension() == ".svg");
    std::filesystem::remove_all(report);
  }
}
