// Every rung of the normalizations' ladders, in every type of storage, against the f64 reference. Skipped
// without a device.
#include <array>
#include <limits>
#include <map>
#include <vector>

#include "bench/ladder/norm_ladders.h"
#include "check_norm.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/cuda.h"

using namespace evenkeel;
using namespace evenkeel::test;

namespace {

const Device kCuda = Device::cuda();
constexpr double kEps = 1e-5, kMomentum = 0.25;

bool skipped() {
  if (cuda_devices().count > 0) return false;
  WARN("no CUDA device: " << cuda_devices().reason);
  return true;
}

/// x [N, C, S]; layer norm is over C and S.
struct Case {
  std::int64_t N, C, S, G;
  const char* reason;
  std::int64_t offset = 0;  // elements by which arrays miss a multiple of 16 bytes

  Shape shape() const { return {N, C, S}; }
  bool is_large() const { return N * C * S > 4096; }
  /// Some rungs have a block of hundreds of threads for each row, whatever its length.
  bool has_many_rows() const { return N * C > 100; }
  reference::Sizes sizes() const { return sizes_of(shape()); }
};
/// What long sums lose the most digits with.
bool is_hard(NormInput input) { return input == NormInput::constant_planes || input == NormInput::outliers; }
const Case kNormVariantsCases[] = {
    {1, 1, 2, 1, "minimal"},
    {2, 2, 1, 2, "G == C and a plane of one pixel: groups of one element, variance 0"},
    {3, 4, 7, 2, "rows and planes that are no multiple of a vector"},
    {2, 6, 8, 3, "planes of one vector of 16-bit numbers"},
    {2, 4, 24, 4, "G == C: instance norm"},
    {2, 4, 8, 2, "arrays that do not start on 16 bytes", 1},
    {300, 1, 4, 1, "many short rows"},
    {2, 20, 16, 2, "more channels than backward holds of a pixel"},
    {1, 70, 24, 5, "more channels than forward holds of a pixel; a row longer than a warp holds"},
    {1, 3, 3001, 1, "an odd row longer than a block holds in backward"},
    {1, 1, 16648, 1, "a row longer than a block holds, no multiple of a block's vectors"},
};

// --- the ops -----------------------------------------------------------------------------------------------

/// Each sets the partition and the sizes of args of either pass.
struct LayerNormOp {
  static constexpr const char* name = "layer_norm";
  static constexpr NormPartition kPartition = NormPartition::rows;
  static void set_sizes(auto& args, const Case& c) {
    args.N = c.N;
    args.C = 1;
    args.S = c.C * c.S;
  }
  static reference::Partition partition(const Case& c) {
    return reference::layer_norm_partition(c.sizes(), 2);
  }
};

void set_planes(auto& args, const Case& c) {
  args.N = c.N;
  args.C = c.C;
  args.S = c.S;
}

struct GroupNormOp {
  static constexpr const char* name = "group_norm";
  static constexpr NormPartition kPartition = NormPartition::group;
  static void set_sizes(auto& args, const Case& c) {
    set_planes(args, c);
    args.G = c.G;
  }
  static reference::Partition partition(const Case& c) {
    return reference::group_norm_partition(c.sizes(), c.G);
  }
};

struct BatchNormOp {
  static constexpr const char* name = "batch_norm";
  static constexpr NormPartition kPartition = NormPartition::batch;
  static void set_sizes(auto& args, const Case& c) {
    set_planes(args, c);
    if constexpr (requires { args.momentum; }) args.momentum = kMomentum;
  }
  static reference::Partition partition(const Case& c) { return reference::batch_norm_partition(c.sizes()); }
};

struct LayerNorm2dOp {
  static constexpr const char* name = "layer_norm2d";
  static constexpr NormPartition kPartition = NormPartition::pixels;
  static void set_sizes(auto& args, const Case& c) { set_planes(args, c); }
  static reference::Partition partition(const Case& c) {
    return reference::layer_norm2d_partition(c.sizes());
  }
};

/// Every rung of a pass, those that the library does not have too.
template <typename Op, typename T>
auto forward_variants() {
  return bench::all_forward_variants<T>(Op::kPartition);
}
template <typename Op, typename T>
auto backward_variants() {
  return bench::all_backward_variants<T>(Op::kPartition);
}

// --- types -------------------------------------------------------------------------------------------------

template <typename T>
struct Storing;
template <>
struct Storing<float> {
  static constexpr const char* name = "f32";
  static constexpr double rounding = 0;  // of outputs, beyond that of the arithmetic: half a unit
};
template <>
struct Storing<double> {
  static constexpr const char* name = "f64";
  static constexpr double rounding = 0;
};
template <>
struct Storing<bf16> {
  static constexpr const char* name = "bf16";
  static constexpr double rounding = 0x1p-8;
};
template <>
struct Storing<f16> {
  static constexpr const char* name = "f16";
  static constexpr double rounding = 0x1p-11;
};

template <typename T>
constexpr DType kArithmetic = std::is_same_v<Arithmetic<T>, float> ? DType::f32 : DType::f64;

template <typename T>
T rounded(double value) {
  return static_cast<T>(static_cast<Arithmetic<T>>(value));
}
template <typename T>
Array rounded(Array values) {
  for (double& v : values.values) v = static_cast<double>(static_cast<Arithmetic<T>>(rounded<T>(v)));
  return values;
}

/// Elements of T on the device.
template <typename T>
class DeviceArray {
 public:
  DeviceArray(const Array& values, std::int64_t offset)
      : shape_(values.shape),
        count_(values.numel()),
        offset_(offset),
        memory_((count_ + offset) * static_cast<std::int64_t>(sizeof(T)), kCuda) {
    std::vector<T> host;
    for (const double v : values.values) host.push_back(rounded<T>(v));
    cuda::copy_to_device(data(), host.data(), bytes(), kCuda.index);
    synchronize(kCuda);
  }
  /// An array with NaN everywhere.
  DeviceArray(const reference::Sizes& shape, std::int64_t offset)
      : DeviceArray(Array(shape, std::numeric_limits<double>::quiet_NaN()), offset) {}

  T* data() const { return reinterpret_cast<T*>(memory_.data()) + offset_; }
  /// The values in f64 on the CPU.
  Tensor values() const {
    std::vector<T> host(static_cast<std::size_t>(count_));
    cuda::copy_to_host(host.data(), data(), bytes(), kCuda.index);
    synchronize(kCuda);
    Array out(shape_);
    for (std::int64_t i = 0; i < count_; ++i)
      out.values[i] = static_cast<double>(static_cast<Arithmetic<T>>(host[static_cast<std::size_t>(i)]));
    return to_tensor(out, {DType::f64, Device::cpu()});
  }

 private:
  std::int64_t bytes() const { return count_ * static_cast<std::int64_t>(sizeof(T)); }

  reference::Sizes shape_;
  std::int64_t count_, offset_;
  Storage memory_;
};

// --- one problem -------------------------------------------------------------------------------------------

/// Inputs as T holds them, and what the reference makes of them.
template <typename Op, typename T>
struct Problem {
  using A = Arithmetic<T>;
  const Case& c;
  bool affine;
  reference::Partition partition;
  Array x, dy, gamma, beta, y, mean, rstd;
  reference::NormGradients gradients;

  Problem(const Case& shape, NormInput input, bool with_affine)
      : c(shape), affine(with_affine), partition(Op::partition(c)) {
    Random random;
    const TensorOptions f64{DType::f64, Device::cpu()};
    x = rounded<T>(to_array(make_input(input, c.shape(), f64, random)));
    dy = rounded<T>(to_array(random.normal(c.shape(), f64)));
    const Shape parameters{partition.parameters};
    gamma = Array({partition.parameters}, 1);
    beta = Array({partition.parameters}, 0);
    if (affine) gamma = rounded<A>(to_array(random.uniform(parameters, f64, 0.5, 2)));
    if (affine) beta = rounded<A>(to_array(random.normal(parameters, f64)));
    const reference::Statistics stats = reference::statistics(x, partition);
    mean = rstd = Array({partition.sets});
    mean.values = stats.mean;
    rstd.values = (stats.var + kEps).rsqrt();
    y = reference::normalize(x, partition, stats, gamma, beta, kEps);
    gradients = reference::normalize_backward(dy, x, partition, gamma, kEps);
  }
  NormTolerance allowed() const {
    NormTolerance t(partition, kEps, x, gamma, y, dy, tolerance(kArithmetic<T>));
    t.y += Storing<T>::rounding * y.largest();
    t.dx += Storing<T>::rounding * gradients.dx.largest();
    return t;
  }
};

template <typename Op, typename T>
struct ForwardRun {
  using A = Arithmetic<T>;
  DeviceArray<T> x, y;
  DeviceArray<A> gamma, beta, mean, rstd;
  NormForwardArgs<T> args{.partition = Op::kPartition};

  explicit ForwardRun(const Problem<Op, T>& p)
      : x(p.x, p.c.offset),
        y(p.x.shape, p.c.offset),
        gamma(p.gamma, p.c.offset),
        beta(p.beta, p.c.offset),
        mean(p.mean.shape, 0),
        rstd(p.mean.shape, 0) {
    args.y = y.data();
    args.mean = mean.data();
    args.rstd = rstd.data();
    args.x = x.data();
    args.gamma = p.affine ? gamma.data() : nullptr;
    args.beta = p.affine ? beta.data() : nullptr;
    args.eps = kEps;
    Op::set_sizes(args, p.c);
  }
};

template <typename Op, typename T>
struct BackwardRun {
  using A = Arithmetic<T>;
  DeviceArray<T> x, dy, dx;
  DeviceArray<A> gamma, mean, rstd, dgamma, dbeta;
  NormBackwardArgs<T> args{.partition = Op::kPartition};

  explicit BackwardRun(const Problem<Op, T>& p)
      : x(p.x, p.c.offset),
        dy(p.dy, p.c.offset),
        dx(p.x.shape, p.c.offset),
        gamma(p.gamma, p.c.offset),
        mean(p.mean, p.c.offset),
        rstd(p.rstd, p.c.offset),
        dgamma(p.gamma.shape, p.c.offset),
        dbeta(p.gamma.shape, p.c.offset) {
    args.dx = dx.data();
    args.dgamma = dgamma.data();
    args.dbeta = dbeta.data();
    args.dy = dy.data();
    args.x = x.data();
    args.mean = mean.data();
    args.rstd = rstd.data();
    args.gamma = p.affine ? gamma.data() : nullptr;
    Op::set_sizes(args, p.c);
  }
};

/// Calls f(variant, run, problem) for each rung of the ladder on each problem that it supports, with fresh
/// outputs. Each rung must support one of them at least.
template <template <typename, typename> typename Run, typename Op, typename T, typename Args, typename F>
void for_each_rung(const std::vector<Variant<Args>>& ladder, const F& f) {
  std::map<std::string, int> supported;
  for (const Variant<Args>& v : ladder) supported[v.name] = 0;
  CHECK(supported.size() == ladder.size());  // names are different
  for (const Case& c : kNormVariantsCases) {
    for (NormInput input : kNormInputs) {
      for (const bool affine : {true, false}) {
        if (!affine && input != NormInput::ordinary) continue;
        if (c.is_large() && !is_hard(input)) continue;
        if (c.has_many_rows() && !(input == NormInput::ordinary && affine && std::is_same_v<T, float>))
          continue;
        const Problem<Op, T> problem(c, input, affine);
        for (const Variant<Args>& v : ladder) {
          INFO(Op::name << " " << v.name << " " << Storing<T>::name << " [" << c.N << ", " << c.C << ", "
                        << c.S << "], " << c.G << " groups: " << c.reason << "; x with " << name_of(input)
                        << "; gamma and beta " << affine);
          const Run<Op, T> run(problem);
          if (!v.supports(run.args)) continue;
          ++supported[v.name];
          f(v, run, problem);
        }
      }
    }
  }
  for (const auto& [name, count] : supported) {
    INFO(Op::name << " " << name << " " << Storing<T>::name);
    CHECK(count > 0);
  }
}

template <typename Op, typename T>
void check_forward() {
  for_each_rung<ForwardRun, Op, T>(forward_variants<Op, T>(),
                                   [](const auto& v, const ForwardRun<Op, T>& run, const Problem<Op, T>& p) {
                                     v.run(run.args, current_stream(kCuda.index));
                                     const double tol = tolerance(kArithmetic<T>);
                                     CHECK(close(run.y.values(), p.y, 1, p.allowed().y));
                                     CHECK(close(run.mean.values(), p.mean, tol));
                                     CHECK(close(run.rstd.values(), p.rstd, tol));
                                   });
}

template <typename Op, typename T>
void check_backward() {
  for_each_rung<BackwardRun, Op, T>(
      backward_variants<Op, T>(), [](const auto& v, const BackwardRun<Op, T>& run, const Problem<Op, T>& p) {
        v.run(run.args, current_stream(kCuda.index));
        const NormTolerance allowed = p.allowed();
        CHECK(close(run.dx.values(), p.gradients.dx, 1, allowed.dx));
        CHECK(close(run.dgamma.values(), p.gradients.dgamma, 1, allowed.dgamma));
        CHECK(close(run.dbeta.values(), p.gradients.dbeta, 1, allowed.dbeta));
      });
}

/// Each gradient alone, the others being null, has the bits that it has with the others.
template <typename Op, typename T>
void check_partial_gradients() {
  const Problem<Op, T> problem(kNormVariantsCases[3], NormInput::ordinary, true);
  for (const auto& v : backward_variants<Op, T>()) {
    const BackwardRun<Op, T> all(problem);
    if (!v.supports(all.args)) continue;
    v.run(all.args, current_stream(kCuda.index));
    for (int wanted = 0; wanted < 3; ++wanted) {
      INFO(Op::name << " " << v.name << " " << Storing<T>::name << ", gradient " << wanted);
      BackwardRun<Op, T> one(problem);
      if (wanted != 0) one.args.dx = nullptr;
      if (wanted != 1) one.args.dgamma = nullptr;
      if (wanted != 2) one.args.dbeta = nullptr;
      v.run(one.args, current_stream(kCuda.index));
      if (wanted == 0) CHECK(same_bits(one.dx.values(), all.dx.values()));
      if (wanted == 1) CHECK(same_bits(one.dgamma.values(), all.dgamma.values()));
      if (wanted == 2) CHECK(same_bits(one.dbeta.values(), all.dbeta.values()));
    }
  }
}

// --- numerical gradients -----------------------------------------------------------------------------------

/// Forward by the dispatcher's choice, backward by `variant`, as an op of autograd.
template <typename Op>
Tensor normalize(const std::vector<Tensor>& in, const Case& c,
                 const Variant<NormBackwardArgs<double>>& variant) {
  const Tensor x = in[0].detach(), gamma = in[1].detach(), beta = in[2].detach();
  const std::int64_t sets = Op::partition(c).sets;
  Tensor y = empty(x.shape(), {DType::f64, kCuda}), mean = empty({sets}, {DType::f64, kCuda}),
         rstd = empty({sets}, {DType::f64, kCuda});
  NormForwardArgs<double> args{.partition = Op::kPartition};
  args.y = y.mutable_data<double>();
  args.mean = mean.mutable_data<double>();
  args.rstd = rstd.mutable_data<double>();
  args.x = x.data<double>();
  args.gamma = gamma.data<double>();
  args.beta = beta.data<double>();
  args.eps = kEps;
  Op::set_sizes(args, c);
  const auto variants = forward_variants<Op, double>();
  choose(Ladder<NormForwardArgs<double>>(variants), args).run(args, current_stream(kCuda.index));
  autograd::record(Op::name, y, {&in[0], &in[1], &in[2]}, [=, &c, &variant](const Tensor& dy) {
    Tensor dx = empty_like(x), dgamma = empty_like(gamma), dbeta = empty_like(beta);
    NormBackwardArgs<double> a{.partition = Op::kPartition};
    a.dx = dx.mutable_data<double>();
    a.dgamma = dgamma.mutable_data<double>();
    a.dbeta = dbeta.mutable_data<double>();
    a.dy = dy.data<double>();
    a.x = x.data<double>();
    a.mean = mean.data<double>();
    a.rstd = rstd.data<double>();
    a.gamma = gamma.data<double>();
    Op::set_sizes(a, c);
    if (!variant.supports(a)) throw std::logic_error(std::string(variant.name) + " supports this no more");
    variant.run(a, current_stream(kCuda.index));
    return std::vector<Tensor>{dx, dgamma, dbeta};
  });
  return y;
}

/// Checks the gradients of each rung, on a shape that all of them support.
template <typename Op>
void check_numerical_gradients() {
  const Case c{2, 4, 6, 2, "supported by every rung"};
  const TensorOptions options{DType::f64, kCuda};
  const std::int64_t parameters = Op::partition(c).parameters;
  for (const auto& v : backward_variants<Op, double>()) {
    INFO(Op::name << " " << v.name);
    Random random;
    const std::vector<Tensor> inputs{leaf(random.normal(c.shape(), options, 0.5, 2)),
                                     leaf(random.uniform({parameters}, options, 0.5, 2)),
                                     leaf(random.normal({parameters}, options))};
    CHECK(gradcheck([&](const std::vector<Tensor>& in) { return normalize<Op>(in, c, v); }, inputs,
                    {.max_elements = 20}));
  }
}

/// The library's rungs are enough for the choice among all of them.
template <typename Op, typename Args>
void check_choice(const Case& c, Ladder<Args> library, const std::vector<Variant<Args>>& all) {
  INFO(Op::name << " [" << c.N << ", " << c.C << ", " << c.S << "], " << c.G << " groups: " << c.reason);
  Args args{.partition = Op::kPartition};
  Op::set_sizes(args, c);
  CHECK(choose(library, args).name == std::string(choose(Ladder<Args>(all), args).name));
}
template <typename Op>
void check_choices(const Case& c) {
  check_choice<Op>(c, cuda::norm_forward_variants<float>(Op::kPartition), forward_variants<Op, float>());
  check_choice<Op>(c, cuda::norm_backward_variants<float>(Op::kPartition), backward_variants<Op, float>());
}

template <typename Op>
void check_op() {
  if (skipped()) return;
  check_forward<Op, float>();
  check_forward<Op, double>();
  check_forward<Op, bf16>();
  check_forward<Op, f16>();
  check_backward<Op, float>();
  check_backward<Op, double>();
  check_backward<Op, bf16>();
  check_backward<Op, f16>();
  check_partial_gradients<Op, float>();
  check_partial_gradients<Op, bf16>();
  check_numerical_gradients<Op>();
}

}  // namespace

TEST_CASE("every rung of layer_norm agrees with the reference") { check_op<LayerNormOp>(); }
TEST_CASE("every rung of group_norm agrees with the reference") { check_op<GroupNormOp>(); }
TEST_CASE("every rung of batch_norm agrees with the reference") { check_op<BatchNormOp>(); }
TEST_CASE("every rung of layer_norm2d agrees with the reference") { check_op<LayerNorm2dOp>(); }

TEST_CASE("every rung of batch_norm keeps running averages") {
  if (skipped()) return;
  const Problem<BatchNormOp, float> p(kNormVariantsCases[2], NormInput::ordinary, true);
  const Array running_mean({p.c.C}, 0.5), running_var({p.c.C}, 2);
  const auto stats = reference::statistics(p.x, p.partition);
  for (const auto& v : forward_variants<BatchNormOp, float>()) {
    INFO(v.name);
    ForwardRun<BatchNormOp, float> run(p);
    const DeviceArray<float> mean(running_mean, 0), var(running_var, 0);
    run.args.running_mean = mean.data();
    run.args.running_var = var.data();
    if (!v.supports(run.args)) continue;
    v.run(run.args, current_stream(kCuda.index));
    CHECK(close(mean.values(), reference::running_average(running_mean, stats.mean, kMomentum),
                tolerance(DType::f32)));
    CHECK(close(var.values(), reference::running_average(running_var, reference::unbiased(stats), kMomentum),
                tolerance(DType::f32)));
  }
}

TEST_CASE("the library has every rung that the dispatcher would choose from the whole ladder") {
  for (const Case& c : kNormVariantsCases) {
    check_choices<LayerNormOp>(c);
    check_choices<GroupNormOp>(c);
    check_choices<BatchNormOp>(c);
    check_choices<LayerNorm2dOp>(c);
  }
}

TEST_CASE("the choice of a rung is the last that supports the arguments") {
  const auto always = [](const int&) { return true; };
  const auto even = [](const int& i) { return i % 2 == 0; };
  const auto nothing = [](const int&, Stream) {};
  const std::array<Variant<int>, 3> ladder{
      {{"first", "", always, nothing}, {"second", "", always, nothing}, {"even", "", even, nothing}}};
  CHECK(choose(Ladder<int>(ladder), 3).name == std::string("second"));
  CHECK(choose(Ladder<int>(ladder), 4).name == std::string("even"));
  CHECK_THROWS_AS(choose(Ladder<int>(ladder).last(1), 3), std::logic_error);
}
