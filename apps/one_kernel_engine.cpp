#include "one_kernel_engine.h"

#include <algorithm>

#include "evenkeel/apps/mnist/one_kernel_args.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/core/dispatch.h"
#include "evenkeel/core/overlap.h"
#include "evenkeel/kernels/cuda/workspace.h"
#include "evenkeel/nn/fusion.h"

namespace evenkeel::app {
namespace {

/// The blocks of a network; the first layer that is in none ends them.
std::vector<FusedBlock> blocks_of(const nn::Sequential& net) {
  return nn::find_blocks(net, Device::cuda()).blocks;
}

/// The kind of norm, that of the first block.
NormPartition norm_of(const std::vector<FusedBlock>& blocks) { return blocks.front().norm; }
/// True for instance norm, which is group norm with a group a channel.
bool has_group_a_channel(const FusedBlock& first) { return first.groups == first.weight.size(0); }
/// True for layer norm over all of an image, false for that over rows, which has no parameters.
bool has_whole_rows(const FusedBlock& first) { return first.normalized_shape.rank() == 3; }

/// A block of the study's network without its tensors; `first` is the first block, which says the norm.
FusedBlock expected_block(const mnist::BlockShape& m, const FusedBlock& first) {
  FusedBlock b;
  b.pool = m.pool;
  b.window = m.window;
  b.p = m.dropout ? mnist::kDropout : 0;
  if (!m.activated) return b;
  b.norm = first.norm;
  b.relu = b.norm != NormPartition::none && m.is_norm_first(b.norm == NormPartition::batch);
  b.relu_first = !b.relu;
  if (b.norm == NormPartition::group) b.groups = has_group_a_channel(first) ? m.K : first.groups;
  const std::int64_t P = m.output();
  if (b.norm == NormPartition::rows) b.normalized_shape = has_whole_rows(first) ? Shape{m.K, P, P} : Shape{P};
  return b;
}

bool is_network_of_study(const std::vector<FusedBlock>& blocks) {
  const auto is_expected = [&](const FusedBlock& b, const mnist::BlockShape& m) {
    const FusedBlock expected = expected_block(m, blocks.front());
    const bool affine = expected.norm != NormPartition::none && expected.normalized_shape.rank() != 1;
    return b.weight.shape() == Shape{m.K, m.C, m.R, m.R} && b.settings() == expected.settings() &&
           b.gamma.defined() == affine && b.beta.defined() == affine;
  };
  return blocks.size() == mnist::kBlocks &&
         std::equal(blocks.begin(), blocks.end(), std::begin(mnist::kNetwork), is_expected);
}

/// The parameters and buffers of a network, as the kernel takes them.
class Description {
 public:
  explicit Description(Run& run) : sgd_(run.sgd) {
    const std::vector<FusedBlock> blocks = blocks_of(run.net);
    training.norm = norm_of(blocks);
    for (std::size_t i = 0; i < blocks.size(); ++i) add(blocks[i], training.blocks[i]);
    training.parameters = end_;
    const FusedBlock& first = blocks.front();
    training.groups = has_group_a_channel(first) ? 0 : static_cast<int>(first.groups);
    training.whole_rows = has_whole_rows(first);
  }

  mnist::TrainingPointers<float> training{};

 private:
  template <typename T = float>
  static T* memory(const Tensor& tensor) {
    if (!tensor.defined()) return nullptr;
    Tensor t = tensor.detach();
    check_dense_target("train_net", t);
    return t.mutable_data<T>();
  }

  mnist::SgdPointers<float> parameter(const Tensor& value) {
    if (!value.defined()) return {};
    const auto count = static_cast<int>(value.numel());
    const int begin = std::exchange(end_, end_ + count);
    return {memory(sgd_.momentum_buffer(value)), begin, count};
  }
  void add(const FusedBlock& from, mnist::BlockPointers<float>& to) {
    to.pointers = {.weight = memory(from.weight),
                   .gamma = memory(from.gamma),
                   .beta = memory(from.beta),
                   .running_mean = memory(from.running_mean),
                   .running_var = memory(from.running_var),
                   .batches_tracked = memory<std::int64_t>(from.batches_tracked)};
    to.weight = parameter(from.weight);
    to.gamma = parameter(from.gamma);
    to.beta = parameter(from.beta);
  }

  optim::SGD& sgd_;
  int end_ = 0;
};

/// All that the kernel is told of a run, but for scratch memory.
mnist::TrainingPointers<float> pointers_of(Run& run, const Tensor& loss) {
  mnist::TrainingPointers<float> t = Description(run).training;
  const ImageSource& source = run.batches.source();
  t.images = source.images.data<std::uint8_t>();
  t.labels = source.labels.data<std::int64_t>();
  t.order = run.batches.order().data<std::int64_t>();
  t.angles = source.angles.defined() ? source.angles.data<float>() : nullptr;
  t.mean = source.mean;
  t.std = source.std;
  t.epoch_images = run.batches.order().size(0);
  t.batch = run.options.batch_size;
  t.seed = run.generator.seed();
  t.draws = run.generator.count();
  t.rule = optim::rule_of(run.sgd.options());
  Tensor totals = run.totals.sums(), last = loss;
  t.totals = totals.mutable_data<double>();
  t.loss = last.mutable_data<float>();
  return t;
}

constexpr std::uint64_t kDrawsOfStep = [] {
  std::uint64_t draws = 0;
  for (const mnist::BlockShape& b : mnist::kNetwork) draws += b.dropout ? 1 : 0;
  return draws;
}();

}  // namespace

std::string OneKernelEngine::why_not(nn::Sequential& net) {
  const std::vector<FusedBlock> blocks = blocks_of(net);
  if (!is_network_of_study(blocks))
    return "only the study's network, as its recipe has it, can be trained so";
  const Device device = blocks.front().weight.device();
  if (!device.is_cuda()) return "it needs a CUDA device";
  if constexpr (kCudaEnabled) {
    current_stream(device.index);  // makes the device the current one
    const std::int64_t needed = mnist::one_kernel_shared<float>(norm_of(blocks)),
                       most = cuda::most_shared_memory();
    if (needed > most) {
      return fmt::format("a block needs {} KB of shared memory, {} has {} KB", needed / 1024, device.str(),
                         most / 1024);
    }
  }
  return "";
}

int OneKernelEngine::most_runs([[maybe_unused]] Device device) {
  if constexpr (kCudaEnabled) return cuda_device_properties(device.index).multiprocessors;
  return 1;
}

OneKernelEngine::OneKernelEngine(std::vector<Run*> runs, int most_blocks) : runs_(std::move(runs)) {
  EK_CHECK(!runs_.empty(), "OneKernelEngine: there is no network to train");
  EK_CHECK(most_blocks >= 1, "OneKernelEngine: {} blocks a network were asked for, at least 1 is needed",
           most_blocks);
  for (Run* run : runs_) {
    const std::string why = why_not(run->net);
    EK_CHECK(why.empty(), "OneKernelEngine: {}", why);
  }
  device_ = runs_.front()->totals.sums().device();
  const FusedBlock first = blocks_of(runs_.front()->net).at(0);
  for (Run* run : runs_) {
    const FusedBlock other = blocks_of(run->net).at(0);
    EK_CHECK(other.norm == first.norm && other.groups == first.groups &&
                 other.normalized_shape == first.normalized_shape &&
                 run->options.batch_size == runs_.front()->options.batch_size,
             "OneKernelEngine: networks that are trained together have one norm and one batch size");
  }
  losses_ = zeros({static_cast<std::int64_t>(runs_.size())}, {DType::f32, device_});
  choose_blocks(most_blocks);
}

void OneKernelEngine::choose_blocks(int most_blocks) {
  const std::int64_t batch = runs_.front()->options.batch_size;
  blocks_ = static_cast<int>(std::min<std::int64_t>(most_blocks, batch));
  if constexpr (kCudaEnabled) {
    if (most_blocks < 2 * batch) return;
    const mnist::TrainingPointers<float> network = pointers_of(*runs_.front(), losses_);
    const auto images = static_cast<int>(batch);
    const mnist::OneKernelArgs<float> paired{.networks = &network,
                                             .scratch = nullptr,
                                             .count = static_cast<int>(runs_.size()),
                                             .blocks = 2 * images,
                                             .cluster = 2,
                                             .first_step = 0,
                                             .steps = 0};
    if (mnist::one_kernel_clusters(paired) < paired.count * images) return;
    blocks_ = paired.blocks;
    cluster_ = paired.cluster;
  }
}

std::int64_t OneKernelEngine::train(std::int64_t first, std::int64_t end) {
  std::vector<mnist::TrainingPointers<float>> networks;
  for (std::size_t i = 0; i < runs_.size(); ++i) networks.push_back(pointers_of(*runs_[i], loss_of(i)));
  mnist::OneKernelArgs<float> args{.networks = networks.data(),
                                   .scratch = nullptr,
                                   .count = static_cast<int>(networks.size()),
                                   .blocks = blocks_,
                                   .cluster = cluster_,
                                   .first_step = first,
                                   .steps = end - first};
  if constexpr (kCudaEnabled) {
    if (!scratch_.defined()) scratch_ = empty({mnist::one_kernel_scratch(args)}, {DType::u8, device_});
    args.scratch = scratch_.mutable_data<std::uint8_t>();
    const OpScope scope("train_net", device_);
    mnist::train_in_one_kernel(args, current_stream(device_.index));
  }
  for (Run* run : runs_) {
    const std::int64_t batch = run->options.batch_size, images = run->batches.order().size(0);
    run->totals.count(std::min(end * batch, images) - first * batch);
    run->generator.set_count(run->generator.count() + kDrawsOfStep * static_cast<std::uint64_t>(end - first));
  }
  return end;
}

}  // namespace evenkeel::app
