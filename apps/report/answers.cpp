#include "report/answers.h"

#include <algorithm>
#include <cmath>

#include "report/html.h"
#include "report/mistakes.h"
#include "report/names.h"

namespace evenkeel::app {
namespace {

/// A network of the main part, whatever its batch size.
struct Kind {
  mnist::Norm norm;
  Penalty penalty;
};

bool is(const RunOptions& network, Kind kind) {
  return network.norm == kind.norm && penalty_of(network) == kind.penalty;
}

const Comparison* find(const std::vector<Comparison>& comparisons, Kind a, Kind b) {
  const auto found = std::find_if(comparisons.begin(), comparisons.end(), [&](const Comparison& c) {
    return (is(c.a->network, a) && is(c.b->network, b)) || (is(c.a->network, b) && is(c.b->network, a));
  });
  return found == comparisons.end() ? nullptr : &*found;
}

bool has_all(const StudyOptions& study, const std::vector<Kind>& kinds) {
  const std::vector<RunOptions> networks = study.networks();
  return std::all_of(kinds.begin(), kinds.end(), [&](Kind kind) {
    return std::any_of(networks.begin(), networks.end(), [&](const RunOptions& n) { return is(n, kind); });
  });
}

template <typename T>
void add(std::vector<T>& all, T one) {
  if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
}

/// " --norms bn,gn" if `wanted` is not what the study `has`.
template <typename T>
std::string option(const char* name, const std::vector<T>& has, const std::vector<T>& wanted) {
  if (has == wanted) return "";
  std::vector<std::string_view> names;
  for (const T one : wanted) names.push_back(name_of(one));
  return fmt::format(" {} {}", name, fmt::join(names, ","));
}

/// The options with which the study has these networks too; "" if it has them.
std::string options_that_add(const StudyOptions& study, const std::vector<Kind>& kinds) {
  StudyOptions with = study;
  for (const Kind kind : kinds) {
    add(with.norms, kind.norm);
    if (kind.penalty != Penalty::off && study.run.sgd.l1 == 0) with.run.sgd.l1 = kL1;
  }
  if (!has_all(with, kinds)) {
    if (with.penalties.empty()) with.penalties = {Penalty::off, Penalty::subgradient};
    for (const Kind kind : kinds) add(with.penalties, kind.penalty);
  }
  return option("--norms", study.norms, with.norms) + option("--penalties", study.penalties, with.penalties) +
         (with.run.sgd.l1 == study.run.sgd.l1 ? "" : fmt::format(" --l1 {}", with.run.sgd.l1));
}

std::string paragraph(const std::string& html) { return "<p>" + html + "</p>\n"; }

std::string missing(std::string_view how) {
  return paragraph(fmt::format("Not in this study: run it again with <code>{}</code>.", how));
}

/// Said where there are no results of one of these networks.
std::string missing(const StudyOptions& study, const std::vector<Kind>& kinds) {
  const std::string how = options_that_add(study, kinds);
  if (how.empty()) return paragraph("Not in this study: the runs of a network that it takes failed.");
  return missing(std::string_view(how).substr(1));
}

std::string capitalized(std::string text) {
  text[0] = static_cast<char>(std::toupper(text[0]));
  return text;
}

std::string accuracy(const NetworkResult& n) {
  const Summary s = summarize(n, kAccuracyPercent);
  return span({fmt::format("networks/{}/accuracy_percent_mean", n.name()), s.mean}) + " %";
}

/// "L1 + batch norm 99.43 %, group norm 99.41 %. No difference shown: ..."
std::string comparison_text(const Comparison& c) {
  const auto figure = [&](const char* column, double value, int digits) {
    return span({key_of(c, "comparisons", column), value, digits});
  };
  const auto p_value = [&](const char* column, double value) {
    return span({key_of(c, "comparisons", column), value, 4, true});
  };
  if (c.verdict == Verdict::not_tested) {
    return fmt::format("{} {}, {} {}. <strong>{}</strong>", capitalized(title_of(c.a->network)),
                       accuracy(*c.a), title_of(c.b->network), accuracy(*c.b),
                       escape(capitalized(verdict_text(c))));
  }
  std::string text =
      fmt::format("{} {}, {} {}. Difference {} points", capitalized(title_of(c.a->network)), accuracy(*c.a),
                  title_of(c.b->network), accuracy(*c.b), figure("difference", c.difference.mean, 3));
  if (!std::isnan(c.difference.low)) {
    text += fmt::format(" (95 % interval {} to {})", figure("low", c.difference.low, 3),
                        figure("high", c.difference.high, 3));
  }
  text += fmt::format(". <strong>{}</strong>", escape(capitalized(verdict_text(c))));
  if (c.verdict == Verdict::too_few_seeds) {
    return text + fmt::format(": the smallest p that this study could give is {}.",
                              p_value("smallest_p", c.smallest_p));
  }
  return text + fmt::format(": p = {} by the sign-flip test, {} after Holm's correction.",
                            p_value("p_sign_flip", c.p_sign_flip), p_value("p_holm", c.p_holm));
}

std::string compared(const Findings& f, Kind a, Kind b) {
  const Comparison* c = find(f.comparisons, a, b);
  return c == nullptr ? missing(f.results.study, {a, b}) : paragraph(comparison_text(*c));
}

/// What a penalty leaves of the weights: "4.1 % of the convolutions' weights are below 0.001 ..."
std::string penalty_effect(const NetworkResult& n) {
  std::vector<std::string> parts;
  for (const auto& [kind, name] : {std::pair("conv", "the convolutions' weights"), std::pair("gamma", "γ")}) {
    const auto mean = mean_fractions(n, kind);
    if (!mean) continue;
    const std::string key = fmt::format("weights/{}/{}", n.name(), kind);
    parts.push_back(fmt::format("{1} % of {0} are below 0.001 and {2} % are exactly 0", name,
                                span({key + "_small_percent", mean->small_percent, 1}),
                                span({key + "_zero_percent", mean->zero_percent, 1})));
  }
  return fmt::format("{}: {}.", capitalized(title_of(n.network)), fmt::join(parts, ", "));
}

std::string effect_of_l1(const Findings& f) {
  using mnist::Norm;
  const std::vector<Kind> all = {
      {Norm::bn, Penalty::off}, {Norm::bn, Penalty::subgradient}, {Norm::bn, Penalty::proximal}};
  std::string html;
  for (const NetworkResult& n : f.results.networks) {
    if (n.network.norm == Norm::bn) html += "<li>" + penalty_effect(n) + "</li>\n";
  }
  if (html.empty()) return missing(f.results.study, all);
  html = "<ul>\n" + html + "</ul>\n";
  for (const Comparison& c : f.comparisons) {
    if (c.a->network.norm == c.b->network.norm && has_learned(*c.a)) html += paragraph(comparison_text(c));
  }
  const optim::SgdOptions& sgd = f.results.study.run.sgd;
  const bool has_penalty = std::any_of(f.results.networks.begin(), f.results.networks.end(),
                                       [](const NetworkResult& n) { return n.network.sgd.l1 > 0; });
  if (!has_penalty) return html + missing(f.results.study, all);
  const bool has_proximal =
      std::any_of(f.results.networks.begin(), f.results.networks.end(),
                  [](const auto& n) { return penalty_of(n.network) == Penalty::proximal; });
  std::string how =
      "The subgradient penalty moves each value by a fixed step towards 0 and often past it, so that none "
      "stays there. The proximal step, soft thresholding, stops at 0";
  if (has_proximal && sgd.momentum > 0) {
    how += fmt::format(
        "; but with momentum {} steps of the subgradient add up to {:.3g} times as much, while proximal "
        "steps do not add up. At the same strength, here {}, the proximal penalty is therefore the weaker "
        "one",
        sgd.momentum, 1 / (1 - sgd.momentum), sgd.l1);
  }
  return html + paragraph(how + ".");
}

std::string hardest_labels(const NetworkResult& n, const std::string& dataset) {
  const std::vector<double> missed = mistakes_by_label(n);
  std::vector<std::size_t> order;
  for (std::size_t label = 0; label < missed.size(); ++label) order.push_back(label);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return missed[i] > missed[j]; });
  std::vector<std::string> words;
  for (int i = 0; i < 3; ++i) {
    words.push_back(
        fmt::format("{} ({})", classes_of(dataset)[order[i]],
                    span({fmt::format("digits/{}/{}", n.name(), order[i]), missed[order[i]], 1})));
  }
  return fmt::format("{}: {}", capitalized(title_of(n.network)), fmt::join(words, ", "));
}

std::string missed_images(const Findings& f) {
  if (std::none_of(f.results.networks.begin(), f.results.networks.end(), has_learned)) {
    return paragraph(
        "No network has more than half of the test images right with its first seed: what they miss "
        "says nothing.");
  }
  const SharedMistakes shared = shared_mistakes(f.results.networks);
  std::string html =
      paragraph(fmt::format("With the first seed, {} of the test images are misclassified by at least one of "
                            "the networks that learn, and {} by all of them. The labels that each network "
                            "misclassifies most often, with the mean number of images over the seeds:",
                            span({"missed/any", static_cast<double>(shared.by_any.size()), 0}),
                            span({"missed/every", static_cast<double>(shared.by_every.size()), 0})));
  html += "<ul>\n";
  for (const NetworkResult& n : f.results.networks) {
    if (has_learned(n)) html += "<li>" + hardest_labels(n, f.results.study.run.dataset) + "</li>\n";
  }
  return html + "</ul>\n" +
         paragraph(
             "<a href=\"#mistakes\">All of them</a>: choose <em>every network that learns</em> to see those "
             "that "
             "none gets right.");
}

std::string batch_answer(const Findings& f) {
  if (f.results.batch_networks.empty()) return missing("--batch-sizes 64,32,16,8,4,2");
  std::string html = paragraph(fmt::format(
      "Each network is trained for {} epoch{} without L1. Its learning rate is in proportion to the batch "
      "size and is multiplied by {} after every epoch:",
      f.results.study.batch_epochs, f.results.study.batch_epochs == 1 ? "" : "s", f.results.study.run.gamma));
  html += "<ul>\n";
  for (const mnist::Norm norm : f.results.study.batch_norms) {
    std::vector<std::string> words;
    for (const NetworkResult& n : f.results.batch_networks) {
      if (n.network.norm != norm) continue;
      words.push_back(fmt::format("{} % at {}",
                                  span({fmt::format("batch/{}/accuracy_percent_mean", n.name()),
                                        summarize(n, kAccuracyPercent).mean}),
                                  n.network.batch_size));
    }
    if (words.empty()) continue;  // all of its runs failed
    RunOptions named;
    named.norm = norm;
    html += fmt::format("<li>{}: {}</li>\n", capitalized(title_of(named)), fmt::join(words, ", "));
  }
  return html + "</ul>\n" + paragraph("<a href=\"#batch\">Paired differences at every size</a>.");
}

std::string layer_norm_answer(const Findings& f) {
  const auto figure = [](const Diagnosis& d, const char* column, double value) {
    return span({fmt::format("diagnosis/{}/{}", d.network, column), value, 4});
  };
  const Diagnosis& rows = f.diagnosis.front();
  const double pooled = largest(rows, &DiagnosisStep::max_abs_pooled),
               logit = largest(rows, &DiagnosisStep::max_abs_logit), loss = rows.steps.back().loss;
  const bool vanishes = pooled < 1e-4 && logit < 1e-4 && std::abs(loss - std::log(10)) < 1e-4;
  std::string html = paragraph(fmt::format(
      "{} The largest pooled mean in {} step{} is {}, the largest |logit| {}, the last loss {}{}",
      vanishes
          ? "Layer norm over rows leaves nothing to learn from, which is an artefact of its place in the "
            "network: it gives every row mean zero, the network then averages planes of such rows, and only "
            "rounding errors are left."
          : "Layer norm over rows, measured:",
      rows.steps.size(), rows.steps.size() == 1 ? "" : "s", figure(rows, "max_abs_pooled", pooled),
      figure(rows, "max_abs_logit", logit), figure(rows, "last_loss", loss), vanishes ? " = ln 10." : "."));
  std::vector<std::string> cured, not_cured;
  for (const Diagnosis& d : f.diagnosis) {
    if (&d == &rows) continue;
    const double last = d.steps.back().loss;
    (last < d.steps.front().loss / 2 ? cured : not_cured)
        .push_back(fmt::format("{} ({})", d.description, figure(d, "last_loss", last)));
  }
  html += paragraph(fmt::format(
      "After the same number of steps the loss has more than halved with {}.{} <a "
      "href=\"#diagnosis\">The measurements</a>.",
      cured.empty() ? "none of the other variants" : fmt::format("{}", fmt::join(cured, "; ")),
      not_cured.empty() ? "" : fmt::format(" It has not halved with {}.", fmt::join(not_cured, "; "))));
  return html + compared(f, {mnist::Norm::ln, Penalty::off}, {mnist::Norm::gn, Penalty::off});
}

}  // namespace

std::string key_of(const Comparison& c, const char* part, const char* column) {
  return fmt::format("{}/{}/{}/{}", part, c.a->name(), c.b->name(), column);
}

std::string verdict_text(const Comparison& c) {
  switch (c.verdict) {
    case Verdict::a:
      return title_of(c.a->network) + " is more accurate";
    case Verdict::b:
      return title_of(c.b->network) + " is more accurate";
    case Verdict::no_difference:
      return "no difference shown";
    case Verdict::too_few_seeds:
      return "not enough seeds to tell";
    case Verdict::not_tested:
      return "not tested: no seed that both have";
  }
  return "";
}

std::vector<Answer> answers(const Findings& f) {
  const Kind l1_batch_norm{mnist::Norm::bn, Penalty::subgradient}, batch_norm{mnist::Norm::bn, Penalty::off},
      group_norm{mnist::Norm::gn, Penalty::off};
  return {{"Does L1 + batch norm beat group norm?", compared(f, l1_batch_norm, group_norm)},
          {"Does batch norm without L1 beat group norm?", compared(f, batch_norm, group_norm)},
          {"What does L1 do to the weights and to γ?", effect_of_l1(f)},
          {"Does layer normalization reduce performance?", layer_norm_answer(f)},
          {"Which images does each network misclassify, and which do all?", missed_images(f)},
          {"How do the normalizations compare at smaller batch sizes?", batch_answer(f)}};
}

}  // namespace evenkeel::app
