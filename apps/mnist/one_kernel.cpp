#include "evenkeel/apps/mnist/one_kernel.h"

#include <algorithm>

#include "evenkeel/apps/mnist/one_kernel_args.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/kernels/cuda/workspace.h"
#include "evenkeel/nn/conv_chain.h"

namespace evenkeel::mnist {
namespace {

/// The blocks of a network; a layer that joins no chain ends them.
std::vector<ConvBlock> blocks_of(nn::Sequential& net) {
  ConvChain chain;
  for (std::size_t i = 0; i < net.size() && net[i].join(chain); ++i) {
  }
  return chain.blocks();
}

/// The kind of norm, that of the first block.
ChainNorm norm_of(const std::vector<ConvBlock>& blocks) { return blocks.front().norm; }

/// True if a block of the network is one of the study's, with the norm `norm`.
bool is_block(const ConvBlock& b, const BlockShape& m, ChainNorm norm) {
  const bool convolves = b.weight.shape() == Shape{m.K, m.C, m.R, m.R} && b.padding == 0;
  const bool norm_first = m.is_norm_first(norm == ChainNorm::batch);
  const bool has_norm = m.activated && norm != ChainNorm::none;
  const bool relu_first = m.activated && (!norm_first || !has_norm), relu = m.activated && !relu_first;
  const bool activates = b.relu_first == relu_first && b.relu == relu;
  const bool normalises = b.norm == (has_norm ? norm : ChainNorm::none) && b.eps == 1e-5 &&
                          (norm != ChainNorm::batch || (b.momentum == 0.1 && b.training));
  return convolves && activates && normalises && b.pool == m.pool && b.window == m.window &&
         b.p == (m.dropout ? kDropout : 0);
}

bool is_network_of_study(const std::vector<ConvBlock>& blocks) {
  return blocks.size() == kBlocks &&
         std::equal(blocks.begin(), blocks.end(), std::begin(kNetwork),
                    [&](const ConvBlock& b, const BlockShape& m) { return is_block(b, m, norm_of(blocks)); });
}

/// The parameters and buffers of a network, as the kernel takes them.
class Description {
 public:
  explicit Description(const NetTask& task) : task_(task) {
    const std::vector<ConvBlock> blocks = blocks_of(*task.net);
    training.norm = norm_of(blocks);
    for (std::size_t i = 0; i < blocks.size(); ++i) add(blocks[i], training.blocks[i]);
    training.parameters = end_;
    const ConvBlock& first = blocks.front();
    training.groups = static_cast<int>(first.groups == first.weight.size(0) ? 0 : first.groups);
    training.whole_rows = first.normalized_shape.rank() == 3;
  }

  TrainingPointers<float> training{};

 private:
  template <typename T = float>
  static T* memory(Tensor t) {
    if (!t.defined()) return nullptr;
    check_dense_target("train_net", t);
    return t.mutable_data<T>();
  }

  ParameterPointers<float> parameter(const Tensor& value) {
    if (!value.defined()) return {};
    const auto count = static_cast<int>(value.numel());
    const int begin = std::exchange(end_, end_ + count);
    return {memory(value.detach()), memory(task_.sgd->momentum_buffer(value)), begin, count};
  }
  void add(const ConvBlock& from, BlockPointers<float>& to) {
    to.weight = parameter(from.weight);
    to.gamma = parameter(from.gamma);
    to.beta = parameter(from.beta);
    to.running_mean = memory(from.running_mean);
    to.running_var = memory(from.running_var);
    to.batches_tracked = memory<std::int64_t>(from.batches_tracked);
  }

  const NetTask& task_;
  int end_ = 0;
};

/// All that the kernel is told of a network, but for scratch memory.
TrainingPointers<float> training_of(const NetTask& task, const Tensor& loss) {
  TrainingPointers<float> t = Description(task).training;
  const data::Batches& batches = *task.batches;
  const ImageSource& source = batches.source();
  t.images = source.images.data<std::uint8_t>();
  t.labels = source.labels.data<std::int64_t>();
  t.order = batches.order().data<std::int64_t>();
  t.angles = source.angles.defined() ? source.angles.data<float>() : nullptr;
  t.mean = source.mean;
  t.std = source.std;
  t.epoch_images = batches.order().size(0);
  t.batch = batches.options().size;
  t.seed = task.generator->seed();
  t.draws = task.generator->count();
  t.rule = optim::rule_of(task.sgd->options());
  Tensor totals = task.totals, last = loss;
  t.totals = totals.mutable_data<double>();
  t.loss = last.mutable_data<float>();
  return t;
}

constexpr std::uint64_t kDrawsOfStep = [] {
  std::uint64_t draws = 0;
  for (const BlockShape& b : kNetwork) draws += b.dropout ? 1 : 0;
  return draws;
}();

}  // namespace

std::string NetTrainer::why_not(nn::Sequential& net) {
  const std::vector<ConvBlock> blocks = blocks_of(net);
  if (!is_network_of_study(blocks))
    return "only the study's network, as its recipe has it, can be trained so";
  const Device device = blocks.front().weight.device();
  if (!device.is_cuda()) return "it needs a CUDA device";
  if constexpr (kCudaEnabled) {
    current_stream(device.index);  // makes the device the current one
    const std::int64_t needed = one_kernel_shared<float>(norm_of(blocks)), most = cuda::most_shared_memory();
    if (needed > most) {
      return fmt::format("a block needs {} KB of shared memory, {} has {} KB", needed / 1024, device.str(),
                         most / 1024);
    }
  }
  return "";
}

int NetTrainer::most_networks([[maybe_unused]] Device device) {
  if constexpr (kCudaEnabled) return cuda_device_properties(device.index).multiprocessors;
  return 1;
}

NetTrainer::NetTrainer(std::vector<NetTask> tasks, int most_blocks) : tasks_(std::move(tasks)) {
  EK_CHECK(!tasks_.empty(), "NetTrainer: there is no network to train");
  EK_CHECK(most_blocks >= 1, "NetTrainer: {} blocks a network were asked for, at least 1 is needed",
           most_blocks);
  for (const NetTask& task : tasks_) {
    const std::string why = why_not(*task.net);
    EK_CHECK(why.empty(), "NetTrainer: {}", why);
  }
  device_ = tasks_.front().totals.device();
  const ConvBlock first = blocks_of(*tasks_.front().net).at(0);
  for (const NetTask& task : tasks_) {
    const ConvBlock other = blocks_of(*task.net).at(0);
    EK_CHECK(other.norm == first.norm && other.groups == first.groups &&
                 other.normalized_shape == first.normalized_shape &&
                 task.batches->options().size == tasks_.front().batches->options().size,
             "NetTrainer: networks of one trainer have one norm and one batch size");
  }
  losses_ = zeros({static_cast<std::int64_t>(tasks_.size())}, {DType::f32, device_});
  choose_team(most_blocks);
}

void NetTrainer::choose_team(int most_blocks) {
  const std::int64_t batch = tasks_.front().batches->options().size;
  team_ = static_cast<int>(std::min<std::int64_t>(most_blocks, batch));
  if constexpr (kCudaEnabled) {
    if (most_blocks < 2 * batch) return;
    const TrainingPointers<float> network = training_of(tasks_.front(), losses_);
    const auto images = static_cast<int>(batch);
    const OneKernelArgs<float> paired{&network, nullptr, static_cast<int>(tasks_.size()), 2 * images, 2,
                                      0,        0};
    if (one_kernel_clusters(paired) < paired.count * images) return;
    team_ = paired.team;
    cluster_ = paired.cluster;
  }
}

void NetTrainer::run(std::int64_t first, std::int64_t steps) {
  std::vector<TrainingPointers<float>> networks;
  for (std::size_t i = 0; i < tasks_.size(); ++i) networks.push_back(training_of(tasks_[i], loss(i)));
  OneKernelArgs<float> args{networks.data(), nullptr, static_cast<int>(networks.size()), team_, cluster_,
                            first,           steps};
  if constexpr (kCudaEnabled) {
    if (!scratch_.defined()) scratch_ = empty({one_kernel_scratch(args)}, {DType::u8, device_});
    args.scratch = scratch_.mutable_data<std::uint8_t>();
    const OpScope scope("train_net", device_);
    train_in_one_kernel(args, current_stream(device_.index));
  }
  for (const NetTask& task : tasks_) {
    Generator& g = *task.generator;
    g.set_count(g.count() + kDrawsOfStep * static_cast<std::uint64_t>(steps));
  }
}

}  // namespace evenkeel::mnist
