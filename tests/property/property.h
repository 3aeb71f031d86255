// A property test of the public surface: cases drawn from a seed, each judged by the naive f64 reference.
//
// A case says which tensors an op is given, whether PyTorch's rules accept them, and what then comes out.
// Every accepted call must give that, forward and backward, in f32 and f64, and the same bits whatever fresh
// memory holds; every other call must throw Error with a line that names the op. test_property (main.cpp)
// runs the cases and prints for each failure a command that runs it again.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "evenkeel/core/tensor.h"
#include "reference/array.h"

namespace evenkeel::property {

using reference::Array;
using reference::Index;
using reference::Sizes;

/// What a case found: one line.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// How a tensor lies in memory.
struct Layout {
  std::vector<int> order;         // axes from the outermost in memory to the innermost
  std::vector<Index> step, skip;  // for each axis: in memory, every step-th element from `skip` on
  std::vector<bool> repeated;     // for each axis: one element with stride 0
};

/// A tensor of a case. Numbers are such that f32 holds them exactly.
struct Operand {
  Array values;
  Layout layout;
  bool defined = true;
  bool gradient = false;     // requires one
  bool is_i64 = false;       // labels and indices; else of the run's dtype
  bool other_dtype = false;  // f32 where the run is in f64, and the other way round
};

/// Draws what a case consists of.
class Gen {
 public:
  Gen(std::uint64_t seed, Device device);

  Device device() const { return device_; }
  std::uint64_t seed() const { return seed_; }
  /// In [low, high].
  Index integer(Index low, Index high);
  bool chance(int percent) { return integer(1, 100) <= percent; }
  double uniform(double low, double high);
  Index pick(std::initializer_list<Index> values);
  /// A size around 8, 16 or 64, or a small one; 0 too if `zero`.
  Index size(bool zero = true);
  /// Sizes whose product is at most that of a small case or a larger one, by the seed.
  Sizes shape(int rank, bool zero = true);
  /// A number of which one does not know how anything survives it: 2^46 and more, up to the largest of 64
  /// bits.
  Index huge();

  Layout layout(const Sizes& shape);
  /// Numbers of one kind: normal, small integers, or far from 0; now and then with NaN and infinities if
  /// `special`.
  Operand operand(const Sizes& shape, bool special = true);
  /// Numbers for the parameters of a layer: finite, laid out densely or anyhow.
  Operand parameter(const Sizes& shape);
  Operand labels(Index n, Index classes);
  Array numbers(const Sizes& shape, bool special);
  /// Operand that is absent.
  static Operand undefined();

 private:
  std::uint64_t seed_;
  std::mt19937_64 engine_;
  Device device_;
  Index most_elements_;
};

/// The tensor that an operand says, of fresh memory. Gaps between its elements are NaN.
Tensor make_tensor(const Operand& operand, DType dtype, Device device);
Array to_array(const Tensor& x);
/// A hash of the shapes and bits of all results that to_array() has read, in order; any NaN counts as the
/// same.
extern std::uint64_t bits_read;
Shape to_shape(const Sizes& sizes);
Sizes to_sizes(const Shape& shape);
std::string str(const Sizes& sizes);
std::string describe(const Operand& operand);

/// One call of one op.
struct OpCase {
  std::string op;                       // as an Error must name it
  std::vector<std::string> also_named;  // or one of these: what refuses it inside
  std::string args;                     // members of a JSON object
  std::vector<Operand> inputs;
  std::string invalid;      // why it must be refused; empty if it must not
  bool may_refuse = false;  // PyTorch refuses it, but the value is clear: either will do
  std::function<Tensor(const std::vector<Tensor>&)> run;
  std::function<Array(const std::vector<Array>&)> forward;
  /// One gradient per input; without it the op has no backward.
  std::function<std::vector<Array>(const Array& dy, const std::vector<Array>&)> backward;
  /// What |actual - expected| <= tolerance * scale means: by default the largest expected value. For sums of
  /// products it is what the reference gives for absolute values.
  bool is_sum_of_products = false;
  /// Gives the scale of y and of each gradient, in place of the above.
  std::function<std::vector<double>(const std::vector<Array>& inputs, const Array& y, const Array& dy)> scale;
  std::optional<DType> y_dtype;  // else the run's
  bool torch_has_it = true;      // for tests/interop/property_interop.py
};

/// Runs the case in f64 and f32, twice each with different poison, and throws Failure.
void check(const OpCase& c, Gen& gen);

/// Where cases are written instead of being checked, or null: see writer.h.
class CaseWriter;
extern CaseWriter* case_writer;

/// A line's worth of facts for the failure that is thrown, then throws.
[[noreturn]] void fail_case(const std::string& message);
/// Throws Failure unless f() throws Error with one line that has `op` in it.
void must_refuse(const std::string& op, const std::string& why, const std::function<void()>& f);
/// Throws Failure unless the values agree; what: named in the message.
void must_equal(const std::string& what, const Tensor& actual, const Array& expected, double scale = 0);
/// Throws Failure unless shapes, dtypes and bits are equal.
void must_have_bits(const std::string& what, const Array& a, const Array& b);
double largest_finite(const Array& x);

/// The whole memory that a tensor views, as it was.
class Snapshot {
 public:
  explicit Snapshot(const Tensor& x);
  /// Throws Failure if an element changed, or with `except` one that is no element of that tensor.
  void must_be_unchanged(const std::string& what, const Tensor& except = {}) const;

 private:
  Tensor all_;
  Array before_;
};
/// True if two elements of an operand share a place in memory.
bool overlaps_itself(const Operand& operand);
double tolerance(DType dtype);

/// A family of cases: its name and what draws and checks one of them.
struct Property {
  const char* name;
  void (*run)(Gen&);
};
const std::vector<Property>& properties();

}  // namespace evenkeel::property
