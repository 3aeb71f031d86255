// The reference: each op in f64, straight from its textbook formula, as slow and as plain as that is. It
// shares no code with the library that it judges.
//
// This file: a dense row-major array of any rank, for formulas written as loops over indices.
#pragma once

#include <Eigen/Core>
#include <stdexcept>
#include <vector>

namespace reference {

using Index = Eigen::Index;
using Sizes = std::vector<Index>;

struct Array {
  Sizes shape;
  Eigen::ArrayXd values;  // row-major

  Array() = default;
  explicit Array(Sizes sizes, double fill = 0) : shape(std::move(sizes)) {
    Index n = 1;
    for (Index size : shape) n *= size;
    values = Eigen::ArrayXd::Constant(n, fill);
  }

  Index size(int axis) const { return shape.at(static_cast<std::size_t>(axis)); }
  Index numel() const { return values.size(); }
  double largest() const { return numel() == 0 ? 0 : values.abs().maxCoeff(); }

  /// The element at these indices, one for each axis.
  template <typename... Indices>
  double& operator()(Indices... indices) {
    return values[flat({static_cast<Index>(indices)...})];
  }
  template <typename... Indices>
  double operator()(Indices... indices) const {
    return values[flat({static_cast<Index>(indices)...})];
  }

 private:
  Index flat(std::initializer_list<Index> indices) const {
    if (indices.size() != shape.size()) throw std::out_of_range("reference: wrong number of indices");
    Index position = 0;
    std::size_t axis = 0;
    for (Index i : indices) {
      if (i < 0 || i >= shape[axis]) throw std::out_of_range("reference: index outside the array");
      position = position * shape[axis++] + i;
    }
    return position;
  }
};

}  // namespace reference
