// Writes cases to files for tests/interop/property_interop.py, which asks PyTorch what it makes of them.
#pragma once

#include <cstdint>
#include <string>

#include "evenkeel/nn/safetensors.h"
#include "property/property.h"

namespace evenkeel::property {

class CaseWriter {
 public:
  /// Writes a case whose inputs fit into memory: one line of JSON, its arrays in f64.
  void write(const OpCase& c, const Operand& dy, const Array& y, const std::vector<Array>& gradients,
             const std::vector<double>& scale, std::uint64_t seed);
  /// cases.jsonl and arrays.safetensors.
  void save(const std::string& folder) const;

 private:
  std::string lines_;
  NamedTensors arrays_;
};

}  // namespace evenkeel::property
