// Rows in oneDNN 2, f32. Convolutions in the formats that it chooses, with reorders outside of what is timed;
// batch norm, pooling and ReLU in its blocks of 16 or 8 channels where C is a multiple; layer norm in rows.
#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>

#include "bench/peer.h"

namespace evenkeel::bench {
namespace {

using dnnl::memory;
using dnnl::prop_kind;
using Desc = memory::desc;
using Tag = memory::format_tag;

constexpr float kEps = 1e-5f;
const dnnl::normalization_flags kScaleShift =
    dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;

Desc desc(const memory::dims& dims, Tag tag) { return {dims, memory::data_type::f32, tag}; }
Desc any(const memory::dims& dims) { return desc(dims, Tag::any); }
Desc plain(const memory::dims& dims) {
  return desc(dims, dims.size() == 4 ? Tag::abcd : dims.size() == 2 ? Tag::ab : Tag::a);
}
Desc blocked(const memory::dims& dims) {
  return desc(dims, dims[1] % 16 == 0 ? Tag::nChw16c : dims[1] % 8 == 0 ? Tag::nChw8c : Tag::nchw);
}
memory::dims dims_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

class OneDnn : public Peer {
 public:
  explicit OneDnn(const Values& values) : values_(values) { omp_set_num_threads(num_threads()); }

  const dnnl::engine& engine() const { return engine_; }
  void set(const dnnl::primitive& primitive) { primitive_ = primitive; }

  /// Binds an argument to these values, in row-major order, in the memory format `wanted`.
  void input(int argument, const Desc& wanted, const Eigen::ArrayXd& values) {
    memory from(plain(wanted.dims()), engine_), to(wanted, engine_);
    float* data = static_cast<float*>(from.get_data_handle());
    for (Eigen::Index i = 0; i < values.size(); ++i) data[i] = static_cast<float>(values[i]);
    reorder(from, to);
    arguments_[argument] = to;
  }
  void input(int argument, const Desc& wanted, const char* name) {
    input(argument, wanted, values_.at(name).values);
  }
  /// Binds an argument that is written, known by `name` in the results; or by none.
  void output(int argument, const Desc& wanted, const char* name = nullptr) {
    const memory to(wanted, engine_);
    arguments_[argument] = to;
    if (name) outputs_.emplace(name, to);
  }
  /// The variance of which rstd is made.
  Eigen::ArrayXd variance() const { return values_.at("rstd").values.square().inverse() - kEps; }

  void run() override {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }
  std::map<std::string, std::vector<double>> results() override {
    std::map<std::string, std::vector<double>> all;
    for (const auto& [name, from] : outputs_) {
      memory to(plain(from.get_desc().dims()), engine_);
      reorder(from, to);
      const float* data = static_cast<const float*>(to.get_data_handle());
      all.emplace(name, std::vector<double>(data, data + to.get_desc().get_size() / sizeof(float)));
    }
    return all;
  }

 private:
  void reorder(memory from, memory to) {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  Values values_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::primitive primitive_;
  std::unordered_map<int, memory> arguments_;
  std::map<std::string, memory> outputs_;
};

/// A row that the peer may be able to do, its x, and whether it is the forward pass.
struct Wanted {
  const Row& row;
  memory::dims x;
  bool forward;
  std::int64_t parameter(const char* name) const { return row.parameters.at(name); }
};

void conv2d(OneDnn& peer, const Wanted& wanted) {
  const std::int64_t K = wanted.parameter("filters"), R = wanted.parameter("kernel"),
                     pad = wanted.parameter("padding");
  const memory::dims &x = wanted.x, w{K, x[1], R, R},
                     y{x[0], K, x[2] + 2 * pad - R + 1, x[3] + 2 * pad - R + 1}, one{1, 1}, pads{pad, pad};
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const dnnl::convolution_forward::primitive_desc forward(
      {prop_kind::forward_training, algorithm, any(x), any(w), any(y), one, pads, pads}, peer.engine());
  if (wanted.row.pass == "forward") {
    peer.input(DNNL_ARG_SRC, forward.src_desc(), "x");
    peer.input(DNNL_ARG_WEIGHTS, forward.weights_desc(), "weight");
    peer.output(DNNL_ARG_DST, forward.dst_desc(), "y");
    peer.set(dnnl::convolution_forward(forward));
  } else if (wanted.row.pass == "backward_input") {
    const dnnl::convolution_backward_data::primitive_desc backward(
        {algorithm, any(x), any(w), any(y), one, pads, pads}, peer.engine(), forward);
    peer.input(DNNL_ARG_DIFF_DST, backward.diff_dst_desc(), "dy");
    peer.input(DNNL_ARG_WEIGHTS, backward.weights_desc(), "weight");
    peer.output(DNNL_ARG_DIFF_SRC, backward.diff_src_desc(), "dx");
    peer.set(dnnl::convolution_backward_data(backward));
  } else {
    const dnnl::convolution_backward_weights::primitive_desc backward(
        {algorithm, any(x), any(w), any(y), one, pads, pads}, peer.engine(), forward);
    peer.input(DNNL_ARG_SRC, backward.src_desc(), "x");
    peer.input(DNNL_ARG_DIFF_DST, backward.diff_dst_desc(), "dy");
    peer.output(DNNL_ARG_DIFF_WEIGHTS, backward.diff_weights_desc(), "dweight");
    peer.set(dnnl::convolution_backward_weights(backward));
  }
}

/// Batch and layer norm have the same arguments. `stats` and `parameter` describe mean and gamma.
template <typename Forward>
void bind_norm_forward(OneDnn& peer, const typename Forward::primitive_desc& forward, const Desc& x,
                       const Desc& stats, const Desc& parameter, bool affine) {
  peer.input(DNNL_ARG_SRC, x, "x");
  if (affine) peer.input(DNNL_ARG_SCALE, parameter, "gamma");
  if (affine) peer.input(DNNL_ARG_SHIFT, parameter, "beta");
  peer.output(DNNL_ARG_DST, x, "y");
  peer.output(DNNL_ARG_MEAN, stats, "mean");
  peer.output(DNNL_ARG_VARIANCE, stats);
  peer.set(Forward(forward));
}
template <typename Backward>
void bind_norm_backward(OneDnn& peer, const typename Backward::primitive_desc& backward, const Desc& x,
                        const Desc& stats, const Desc& parameter, bool affine) {
  peer.input(DNNL_ARG_SRC, x, "x");
  peer.input(DNNL_ARG_DIFF_DST, x, "dy");
  peer.input(DNNL_ARG_MEAN, stats, "mean");
  peer.input(DNNL_ARG_VARIANCE, stats, peer.variance());
  if (affine) peer.input(DNNL_ARG_SCALE, parameter, "gamma");
  if (affine) peer.input(DNNL_ARG_SHIFT, parameter, "gamma");  // it wants a shift here, and reads none
  peer.output(DNNL_ARG_DIFF_SRC, x, "dx");
  if (affine) peer.output(DNNL_ARG_DIFF_SCALE, parameter, "dgamma");
  if (affine) peer.output(DNNL_ARG_DIFF_SHIFT, parameter, "dbeta");
  peer.set(Backward(backward));
}

/// It leaves the running averages to the caller.
void batch_norm(OneDnn& peer, const Wanted& wanted) {
  using Forward = dnnl::batch_normalization_forward;
  using Backward = dnnl::batch_normalization_backward;
  const Desc x = blocked(wanted.x), channels = plain({wanted.x[1]});
  const Forward::primitive_desc forward({prop_kind::forward_training, x, kEps, kScaleShift}, peer.engine());
  if (wanted.forward) return bind_norm_forward<Forward>(peer, forward, x, channels, channels, true);
  const Backward::primitive_desc backward({prop_kind::backward, x, x, kEps, kScaleShift}, peer.engine(),
                                          forward);
  bind_norm_backward<Backward>(peer, backward, x, channels, channels, true);
}

void layer_norm(OneDnn& peer, const Wanted& wanted) {
  using Forward = dnnl::layer_normalization_forward;
  using Backward = dnnl::layer_normalization_backward;
  std::int64_t D = 1;
  for (std::int64_t size : wanted.row.parameters.at("normalized_shape")) D *= size;
  const bool affine = wanted.row.parameters.at("affine");
  const auto flags = affine ? kScaleShift : dnnl::normalization_flags::none;
  const std::int64_t M = wanted.row.shape.numel() / D;
  const Desc x = plain({M, D}), stats = plain({M}), parameter = plain({D});
  const Forward::primitive_desc forward({prop_kind::forward_training, x, stats, kEps, flags}, peer.engine());
  if (wanted.forward) return bind_norm_forward<Forward>(peer, forward, x, stats, parameter, affine);
  const Backward::primitive_desc backward({prop_kind::backward, x, x, stats, kEps, flags}, peer.engine(),
                                          forward);
  bind_norm_backward<Backward>(peer, backward, x, stats, parameter, affine);
}

void relu(OneDnn& peer, const Wanted& wanted) {
  const auto algorithm = dnnl::algorithm::eltwise_relu_use_dst_for_bwd;
  const Desc x = plain(wanted.x);
  const dnnl::eltwise_forward::primitive_desc forward({prop_kind::forward_training, algorithm, x},
                                                      peer.engine());
  if (wanted.forward) {
    peer.input(DNNL_ARG_SRC, x, "x");
    peer.output(DNNL_ARG_DST, x, "y");
    return peer.set(dnnl::eltwise_forward(forward));
  }
  peer.input(DNNL_ARG_DST, x, "y");
  peer.input(DNNL_ARG_DIFF_DST, x, "dy");
  peer.output(DNNL_ARG_DIFF_SRC, x, "dx");
  peer.set(dnnl::eltwise_backward({{algorithm, x, x}, peer.engine(), forward}));
}

void pool2d(OneDnn& peer, const Wanted& wanted, dnnl::algorithm algorithm) {
  const std::int64_t R = wanted.parameter("window");
  const memory::dims window{R, R}, pads{0, 0};
  const Desc x = blocked(wanted.x), y = blocked({wanted.x[0], wanted.x[1], wanted.x[2] / R, wanted.x[3] / R});
  const dnnl::pooling_forward::primitive_desc forward(
      {prop_kind::forward_training, algorithm, x, y, window, window, pads, pads}, peer.engine());
  const bool is_max = algorithm == dnnl::algorithm::pooling_max;
  if (is_max) peer.output(DNNL_ARG_WORKSPACE, forward.workspace_desc());
  if (wanted.forward || is_max) {
    peer.input(DNNL_ARG_SRC, x, "x");
    peer.output(DNNL_ARG_DST, y, wanted.forward ? "y" : nullptr);
    peer.set(dnnl::pooling_forward(forward));
  }
  if (wanted.forward) return;
  if (is_max) peer.run();  // leaves the positions of the maxima in the workspace
  peer.input(DNNL_ARG_DIFF_DST, y, "dy");
  peer.output(DNNL_ARG_DIFF_SRC, x, "dx");
  peer.set(dnnl::pooling_backward({{algorithm, x, y, window, window, pads, pads}, peer.engine(), forward}));
}

/// False if oneDNN has no such op.
bool set_up(OneDnn& peer, const Wanted& wanted) {
  const std::string& op = wanted.row.op;
  if (op == "conv2d")
    conv2d(peer, wanted);
  else if (op == "batch_norm")
    batch_norm(peer, wanted);
  else if (op == "layer_norm")
    layer_norm(peer, wanted);
  else if (op == "relu")
    relu(peer, wanted);
  else if (op == "max_pool2d")
    pool2d(peer, wanted, dnnl::algorithm::pooling_max);
  else if (op == "avg_pool2d")
    pool2d(peer, wanted, dnnl::algorithm::pooling_avg_include_padding);
  else
    return false;
  return true;
}

}  // namespace

std::string onednn_peer_name() {
  const dnnl_version_t* v = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch);
}

std::unique_ptr<Peer> make_onednn_peer(const Row& row, const Values& values) {
  if (row.dtype != DType::f32) return nullptr;
  auto peer = std::make_unique<OneDnn>(values);
  if (!set_up(*peer, {row, dims_of(row.shape), row.pass == "forward"})) return nullptr;
  return peer;
}

}  // namespace evenkeel::bench
