#include "comparison.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

namespace evenkeel::app {
namespace {

constexpr Reference kReference[] = {{"bn-l1", 0.01686, 99.43, 57, 24},
                                    {"gn", 0.01832, 99.48, 52, 22},
                                    {"ln-row", 2.302585, 9.80, 9020, 21.5}};

/// The runs of a and b with the same seed.
std::vector<std::pair<const RunResult*, const RunResult*>> pairs_by_seed(const NetworkResult& a,
                                                                         const NetworkResult& b) {
  std::vector<std::pair<const RunResult*, const RunResult*>> pairs;
  for (const RunResult& of_a : a.runs) {
    for (const RunResult& of_b : b.runs) {
      if (of_a.run.seed == of_b.run.seed) pairs.emplace_back(&of_a, &of_b);
    }
  }
  return pairs;
}

Comparison compare(const NetworkResult& a, const NetworkResult& b) {
  Comparison c{.a = &a, .b = &b, .difference = {}};
  std::vector<double> points;
  std::vector<std::int64_t> images;
  const auto pairs = pairs_by_seed(a, b);
  for (const auto& pair : pairs) {
    const RunResult &of_a = *pair.first, &of_b = *pair.second;
    points.push_back(of_a.accuracy_percent() - of_b.accuracy_percent());
    images.push_back(of_a.misclassified() - of_b.misclassified());
    for (std::size_t i = 0; i < of_a.predictions.size(); ++i) {
      const bool a_right = of_a.predictions[i].right(), b_right = of_b.predictions[i].right();
      c.a_only_right += a_right && !b_right;
      c.b_only_right += b_right && !a_right;
    }
  }
  c.seeds = static_cast<int>(pairs.size());
  c.difference = summarize(points, {-100, 100});
  c.p_sign_flip = sign_flip_p(images);
  c.p_mcnemar = mcnemar_p(c.a_only_right, c.b_only_right);
  if (pairs.empty()) c.p_sign_flip = c.p_mcnemar = std::numeric_limits<double>::quiet_NaN();
  return c;
}

Verdict judge(const Comparison& c) {
  if (c.seeds == 0) return Verdict::not_tested;
  if (c.p_holm < kLevel) return c.difference.mean > 0 ? Verdict::a : Verdict::b;
  return c.smallest_p < kLevel ? Verdict::no_difference : Verdict::too_few_seeds;
}

/// The pairs for which `wanted`, with what depends on all of them.
std::vector<Comparison> compare_pairs(
    const std::vector<NetworkResult>& networks,
    const std::function<bool(const RunOptions&, const RunOptions&)>& wanted) {
  std::vector<Comparison> all;
  for (std::size_t i = 0; i < networks.size(); ++i) {
    for (std::size_t j = i + 1; j < networks.size(); ++j) {
      const NetworkResult &a = networks[i], &b = networks[j];
      if (wanted(a.network, b.network)) {
        all.push_back(compare(a, b));
      } else if (wanted(b.network, a.network)) {
        all.push_back(compare(b, a));
      }
    }
  }
  std::vector<double> p;
  for (const Comparison& c : all) {
    if (c.seeds > 0) p.push_back(c.p_sign_flip);
  }
  const std::vector<double> adjusted = holm(p);
  auto next = adjusted.begin();
  for (Comparison& c : all) {
    if (c.seeds > 0) {
      c.p_holm = *next++;
      c.smallest_p = std::min(1.0, static_cast<double>(p.size()) * smallest_sign_flip_p(c.seeds));
    } else {
      c.p_holm = c.smallest_p = std::numeric_limits<double>::quiet_NaN();
    }
    c.verdict = judge(c);
  }
  return all;
}

std::string text(const Summary& s, int digits) {
  if (std::isnan(s.std)) return fmt::format("{:.{}f}", s.mean, digits);
  return fmt::format("{:.{}f} ± {:.{}f}", s.mean, digits, s.std, digits);
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  constexpr std::array<std::string_view, 5> names = {"a", "b", "no-difference", "too-few-seeds",
                                                     "not-tested"};
  return names[static_cast<std::size_t>(verdict)];
}

const Reference* reference_for(const RunOptions& network) {
  if (network.dataset != "mnist") return nullptr;
  const auto* found = std::find_if(std::begin(kReference), std::end(kReference),
                                   [&](const Reference& r) { return network.network() == r.network; });
  return found == std::end(kReference) ? nullptr : found;
}

std::vector<Comparison> compare(const std::vector<NetworkResult>& networks) {
  return compare_pairs(networks, [](const RunOptions& a, const RunOptions& b) {
    if (b.sgd.l1 > 0) return false;
    return a.sgd.l1 == 0 || a.norm == b.norm || is_l1_batch_norm(a);
  });
}

std::vector<Comparison> compare_at_batch_sizes(const std::vector<NetworkResult>& networks) {
  return compare_pairs(networks,
                       [](const RunOptions& a, const RunOptions& b) { return a.batch_size == b.batch_size; });
}

std::string summary_table(const std::vector<NetworkResult>& networks) {
  if (networks.empty()) return "No run has finished: there are no figures.";
  constexpr const char* kRow = "{:<18} {:>6} {:>5}  {:>17} {:>13} {:>14} {:>12} | {:>9} {:>10} {:>13}\n";
  std::string table = fmt::format("{:>92} | {:<}\n", "", "reference*") +
                      fmt::format(kRow, "network", "epochs", "seeds", "test loss", "accuracy %",
                                  "misclassified", "s per epoch", "test loss", "accuracy %", "misclassified");
  for (const NetworkResult& n : networks) {
    const Reference* r = reference_for(n.network);
    table += fmt::format(kRow, n.name(), n.network.epochs, n.runs.size(),
                         text(summarize(n.of(&RunResult::test_loss)), 5),
                         text(summarize(n.of(&RunResult::accuracy_percent)), 2),
                         text(summarize(n.of(&RunResult::misclassified)), n.runs.size() > 1 ? 1 : 0),
                         fmt::format("{:.1f}", median(n.of(&RunResult::seconds_per_epoch))),
                         r != nullptr ? fmt::format("{:.5f}", r->loss) : "-",
                         r != nullptr ? fmt::format("{:.2f}", r->accuracy_percent) : "-",
                         r != nullptr ? fmt::format("{}", r->misclassified) : "-");
  }
  return table + "* PyTorch, 20 epochs, one seed; 21.5 to 24 s per epoch on a Colab GPU";
}

}  // namespace evenkeel::app
