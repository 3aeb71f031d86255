#include "evenkeel/nn/functional/units.h"

#include "evenkeel/core/dispatch.h"

namespace evenkeel::functional {
namespace {

std::int64_t lanes_of(DType dtype) { return cpu::register_bytes() / size_of(dtype); }

/// Reordered::write, with N, the elements of an image, and the lanes of a unit as the order.
template <typename T>
void write(std::byte* data, const Reordered& from) {
  const auto [N, size, lanes] = from.order;
  const StoreUnitsArgs<T> args{.x = reinterpret_cast<T*>(data),
                               .units = reinterpret_cast<const T*>(from.elements.data()),
                               .N = N,
                               .size = size,
                               .lanes = lanes};
  const OpScope scope("store_units", Device::cpu());
  cpu::store_units(args);
}

}  // namespace

Tensor units_of(const Tensor& x) {
  Tensor elements = reordered_elements(x);
  if (!elements.defined()) return {};
  const auto [N, size, lanes] = x.storage().reordered()->order;
  const bool fits = x.rank() > 0 && x.size(0) == N && lanes == lanes_of(x.dtype());
  return fits ? elements : Tensor();
}

Tensor empty_units(const Shape& shape, DType dtype) {
  const std::int64_t lanes = lanes_of(dtype), N = shape[0], size = shape.numel() / N;
  return empty({(N + lanes - 1) / lanes * lanes * size}, {dtype});
}

Tensor from_units(Tensor units, const Shape& shape) {
  const DType dtype = units.dtype();
  const std::int64_t N = shape[0];
  auto reordered = std::make_shared<const Reordered>(
      Reordered{.elements = units.storage(),
                .count = units.numel(),
                .order = {N, shape.numel() / N, lanes_of(dtype)},
                .write = dtype == DType::f32 ? write<float> : write<double>});
  return {Storage(shape.numel() * size_of(dtype), std::move(reordered)), 0, shape, contiguous_strides(shape),
          dtype};
}

Tensor fused_alone(const RunNames& names, const Tensor& x, const FusedBlock& block) {
  if (!x.device().is_cpu() || !fusion_enabled()) return {};
  if (!block.weight.defined() && !units_of(x).defined()) return {};
  return fusable(x, {block}) == 1 ? fused_run(names, x, {block}) : Tensor();
}

}  // namespace evenkeel::functional
