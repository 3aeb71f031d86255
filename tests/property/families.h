// The families of cases, a file each, and what they share.
#pragma once

#include "property/property.h"

namespace evenkeel::property {

void add_elementwise(std::vector<Property>& all);
void add_reductions(std::vector<Property>& all);
void add_products(std::vector<Property>& all);
void add_views(std::vector<Property>& all);
void add_convolution(std::vector<Property>& all);
void add_pooling(std::vector<Property>& all);
void add_normalizations(std::vector<Property>& all);
void add_losses(std::vector<Property>& all);
void add_images(std::vector<Property>& all);
void add_in_place(std::vector<Property>& all);
void add_factories(std::vector<Property>& all);
void add_autograd(std::vector<Property>& all);
void add_optimizers(std::vector<Property>& all);
void add_layers(std::vector<Property>& all);

/// What damage() may do to a case: leave an input out, or also give it another dtype.
enum class Damage { undefined, any };
/// Now and then makes the case one that must be refused. `count`: only the first inputs are touched.
void damage(OpCase& c, Gen& gen, Damage kind, std::size_t count = 100);

}  // namespace evenkeel::property
