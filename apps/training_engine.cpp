#include "training_engine.h"

#include <algorithm>

#include "graph_engine.h"
#include "layers_engine.h"
#include "one_kernel_engine.h"
#include "program.h"

namespace evenkeel::app {
namespace {

/// The most blocks of each of `runs` runs: the whole device among them all, or one.
int blocks_of(const RunOptions& o, std::size_t runs) {
  if (o.engine == Engine::sm && runs == 1) return 1;
  return std::max(1, OneKernelEngine::most_runs(o.device) / static_cast<int>(runs));
}

}  // namespace

std::unique_ptr<TrainingEngine> make_engine(const std::vector<Run*>& runs) {
  Run& first = *runs.front();
  const RunOptions& o = first.options;
  if (o.engine == Engine::layers) {
    EK_CHECK(runs.size() == 1, "make_engine: {} runs, which only one kernel trains together", runs.size());
    if (o.graph && o.device.is_cuda()) return std::make_unique<GraphEngine>(first);
    return std::make_unique<LayersEngine>(first);
  }
  for (Run* run : runs) {
    if (const std::string why = OneKernelEngine::why_not(run->net); !why.empty())
      fail<UsageError>("--engine {}: {}; use --engine layers", name_of(o.engine), why);
  }
  return std::make_unique<OneKernelEngine>(runs, blocks_of(o, runs.size()));
}

}  // namespace evenkeel::app
