#include "report/page.h"

#include "device_name.h"
#include "report/answers.h"
#include "report/assets.h"
#include "report/html.h"
#include "report/limits.h"
#include "report/mistakes.h"

namespace evenkeel::app {
namespace {

/// Pages are known by it: every version's has it.
constexpr std::string_view kTitle = "Which normalization?";

/// `text` with "@name@" replaced by what `values` has for the name.
std::string filled(std::string_view text, const std::map<std::string, std::string, std::less<>>& values) {
  std::string out;
  while (true) {
    const std::size_t at = text.find('@'), end = at == text.npos ? at : text.find('@', at + 1);
    out += text.substr(0, at);
    if (end == text.npos) return out;
    out += values.find(text.substr(at + 1, end - at - 1))->second;
    text.remove_prefix(end + 1);
  }
}

std::string answers_section(const Findings& f) {
  std::string content;
  for (const Answer& a : answers(f)) content += fmt::format("<h3>{}</h3>\n{}", escape(a.question), a.html);
  return section("answers", "Questions and answers", content);
}

/// What the study leaves out, before anything that it says; empty if that is nothing.
std::string banner(const Findings& f) {
  const std::vector<std::string> all = limits(f);
  if (all.empty()) return "";
  std::string html =
      "<aside id=\"limits\" class=\"banner\" role=\"note\">\n<strong>This study is cut "
      "short</strong>\n<ul>\n";
  for (const std::string& limit : all) html += "<li>" + escape(limit) + "</li>\n";
  return html + "</ul>\n</aside>\n";
}

/// Links to the sections that there are, and to the origin.
std::string links(const std::string& sections) {
  std::string html;
  for (const auto& [id, name] :
       {std::pair("answers", "Answers"), std::pair("networks", "Networks"), std::pair("curves", "Curves"),
        std::pair("comparisons", "Pairs"), std::pair("penalty", "L1"), std::pair("batch", "Batch size"),
        std::pair("diagnosis", "Layer norm"), std::pair("mistakes", "Mistakes")}) {
    const bool is_there = sections.find(fmt::format("<section id=\"{}\"", id)) != std::string::npos;
    if (is_there) html += fmt::format("<a href=\"#{}\">{}</a> ", id, name);
  }
  return html + "<a href=\"#origin\">Origin</a>";
}

/// What a config.json, which may be of another version, says that a run was made with.
std::string made_with(const nlohmann::json& config) {
  const auto text = [&](const char* key) {
    const nlohmann::json value = config.value(key, nlohmann::json("unknown"));
    return escape(value.is_string() ? value.get<std::string>() : value.dump());
  };
  return fmt::format("Evenkeel {}, {}, {}, device {}, <span data-timing>{} CPU thread{}</span>",
                     text("evenkeel"), text("compiler"), text("build"), text("device"), text("threads"),
                     text("threads") == "1" ? "" : "s");
}

/// "Runs: Evenkeel 0.1.0, ...; 2 of them: ...": programs and machines may have taken turns.
std::string built_with(const Findings& f) {
  std::map<std::string, int> runs;
  for (const auto* networks : {&f.results.networks, &f.results.batch_networks}) {
    for (const NetworkResult& n : *networks) {
      for (const RunResult& r : n.runs) ++runs[made_with(r.config)];
    }
  }
  std::vector<std::string> all;
  for (const auto& [with, count] : runs)
    all.push_back(runs.size() == 1 ? with : fmt::format("{} of them {}", count, with));
  const RunOptions& run = f.results.study.run;
  return fmt::format("{}This page: {} ({}).",
                     all.empty() ? "" : fmt::format("Runs: {}. ", fmt::join(all, "; ")),
                     made_with(config(run)), escape(device_name(run.device)));
}

/// The part of style.css that is about charts, with the light colours in place of their names: viewers of SVG
/// files do not know CSS variables.
std::string chart_style() {
  const std::size_t begin = kStyle.find("/* charts"), end = kStyle.find("/* misclassified");
  std::string style(kStyle.substr(begin, end - begin));
  for (std::size_t i = style.find("var("); i != std::string::npos; i = style.find("var(", i)) {
    const std::size_t close = style.find(')', i);
    const std::string name = style.substr(i + 4, close - i - 4) + ": ";
    const std::size_t value = kStyle.find(name) + name.size();  // the first definition is the light one
    style.replace(i, close + 1 - i, kStyle.substr(value, kStyle.find(';', value) - value));
  }
  return style;
}

}  // namespace

std::string page(const Findings& f, const Pictures& pictures, const data::Dataset& test) {
  const StudyOptions& study = f.results.study;
  const std::size_t networks = f.results.networks.size();
  std::string sections = answers_section(f) + networks_section(f, pictures);
  if (networks > 0)
    sections += curves_section(pictures) + comparisons_section(f) + penalty_section(f.results);
  sections += batch_section(f, pictures) + diagnosis_section(f.diagnosis, pictures);
  if (networks > 0) sections += mistakes_section(f.results, test);
  return filled(
      kPage,
      {{"title", fmt::format("{} One {} network, everything else equal", kTitle,
                             study.run.dataset == "fashion" ? "Fashion-MNIST" : "MNIST")},
       {"summary", fmt::format("{} network{} of 9,160 convolution weights, {} epoch{} each, {} seed{}.",
                               networks, networks == 1 ? "" : "s", study.run.epochs,
                               study.run.epochs == 1 ? "" : "s", study.seeds, study.seeds == 1 ? "" : "s")},
       {"limits", banner(f)},
       {"links", links(sections)},
       {"sections", sections},
       {"command", escape(study.command)},
       {"built", built_with(f)},
       {"recipe", escape(recipe(study.run).dump())},
       {"style", std::string(kStyle)},
       {"script", networks > 0 ? std::string(kScript) : ""}});
}

std::string unfinished_page() {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{}</title>\n"
      "<p>This report is not finished. If no program is writing it, run the command of the study again.</p>\n"
      "</html>\n",
      kTitle);
}

bool is_page(std::string_view begin) {
  return begin.find(fmt::format("<title>{}", kTitle)) != std::string_view::npos;
}

std::string standalone_svg(const Picture& picture) {
  std::string svg = picture.svg;
  svg.insert(svg.find('>') + 1, fmt::format("\n<style>{}svg.chart {{ font-family: sans-serif; }}</style>\n"
                                            "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
                                            chart_style()));
  return svg;
}

}  // namespace evenkeel::app
