#include "property/families.h"

#include <algorithm>

namespace evenkeel::property {

const std::vector<Property>& properties() {
  static const std::vector<Property> all = [] {
    std::vector<Property> list;
    for (auto add : {add_elementwise, add_reductions, add_products, add_views, add_convolution, add_pooling,
                     add_normalizations, add_losses, add_images, add_in_place, add_factories, add_autograd,
                     add_optimizers, add_layers})
      add(list);
    return list;
  }();
  return all;
}

void damage(OpCase& c, Gen& gen, Damage kind, std::size_t count) {
  if (!gen.chance(6) || !c.invalid.empty()) return;
  const std::size_t among = std::min(count, c.inputs.size());
  Operand& input = c.inputs[static_cast<std::size_t>(gen.integer(0, static_cast<Index>(among) - 1))];
  if (kind == Damage::any && c.inputs.size() > 1 && input.defined && gen.chance(50)) {
    const auto others =
        std::count_if(c.inputs.begin(), c.inputs.end(), [](const Operand& o) { return o.defined; });
    if (others < 2) return;
    input.other_dtype = true;
    c.torch_has_it = false;  // it promotes dtypes
    c.invalid = "the dtypes differ";
  } else {
    input = Gen::undefined();
    c.torch_has_it = false;
    c.invalid = "an input is undefined";
    c.also_named = {"undefined"};  // the handle says so, whatever asks it
  }
}

}  // namespace evenkeel::property
