#include "property/writer.h"

#include <fstream>

namespace evenkeel::property {
namespace {

Tensor as_tensor(const Array& x) {
  return from_vector(std::vector<double>(x.values.data(), x.values.data() + x.values.size()),
                     to_shape(x.shape));
}

}  // namespace

void CaseWriter::write(const OpCase& c, const Operand& dy, const Array& y,
                       const std::vector<Array>& gradients, const std::vector<double>& scale,
                       std::uint64_t seed) {
  if (!c.torch_has_it) return;
  const auto number = arrays_.size();
  std::string inputs;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const Operand& o = c.inputs[i];
    inputs += fmt::format(R"({}{{"defined": {}, "gradient": {}, "i64": {}}})", i == 0 ? "" : ", ", o.defined,
                          o.gradient, o.is_i64);
    if (o.defined) arrays_.emplace_back(fmt::format("{}.input{}", number, i), as_tensor(o.values));
  }
  const bool valid = c.invalid.empty();
  if (valid) {
    arrays_.emplace_back(fmt::format("{}.y", number), as_tensor(y));
    arrays_.emplace_back(fmt::format("{}.dy", number), as_tensor(dy.values));
    for (std::size_t i = 0; i < gradients.size(); ++i)
      if (c.inputs[i].gradient)
        arrays_.emplace_back(fmt::format("{}.gradient{}", number, i), as_tensor(gradients[i]));
  }
  lines_ += fmt::format(
      R"({{"number": {}, "op": "{}", "seed": {}, "args": {{{}}}, "inputs": [{}], "invalid": "{}", )"
      R"("may_refuse": {}, "backward": {}, "scale": [{}]}})"
      "\n",
      number, c.op, seed, c.args, inputs, c.invalid, c.may_refuse, static_cast<bool>(c.backward),
      fmt::join(scale, ", "));
}

void CaseWriter::save(const std::string& folder) const {
  std::ofstream(folder + "/cases.jsonl") << lines_;
  save_safetensors(folder + "/arrays.safetensors", arrays_);
}

}  // namespace evenkeel::property
