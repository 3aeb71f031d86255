// Convolution of 3 x 3 filters by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, 2016), for the
// images of a unit: tiles of 2 x 2 outputs from 4 x 4 inputs, with 16 products a filter in place of 36. With
//
//   B^T = 1  0 -1  0    G = 1    0    0     A^T = 1  1  1  0
//         0  1  1  0        1/2  1/2  1/2         0  1 -1 -1
//         0 -1  1  0        1/2 -1/2  1/2
//         0  1  0 -1        0    0    1
//
// y = A^T [sum over c of (G w G^T) * (B^T x B)] A, * element by element, and the gradient of the filters is
// dw = G^T [sum over tiles of (B^T x B) * (A dy A^T)] G. The rounding errors are those of direct convolution.
#pragma once

#include "evenkeel/kernels/cpu/fused/convolution.h"

namespace evenkeel::cpu::EK_ISA {

/// True for 3 x 3 filters that move by one pixel, and outputs of even height and width.
bool winograd_fits(const Correlation& g);
/// True where it is the faster one, by measurements on Zen 5 with AVX2 and with AVX-512
/// (docs/benchmarks/cpu.md), which all instruction sets share, as the choice decides on bits. The gradient of
/// the input has tiles beside the plane to pay for, that of the filters a transform a filter.
bool winograd_pays(const Correlation& g);
bool winograd_pays_for_input_gradient(const Correlation& g);
bool winograd_pays_for_weight_gradient(const Correlation& g);

/// The numbers that winograd_weights() writes.
std::int64_t winograd_size(const Correlation& g);
/// G w G^T as winograd_correlate() reads it. flip: of backward_correlation(), from the weights and the
/// geometry of forward.
template <typename T>
void winograd_weights(T* out, const T* w, const Correlation& g, bool flip);
template <typename T>
void winograd_correlate(Register<T>* y, const Register<T>* x, const T* u, const T* bias,
                        const Correlation& g);
template <typename T>
void winograd_weight_gradient(T* dw, const Register<T>* dy, const Register<T>* x, const Correlation& g,
                              std::int64_t count);

}  // namespace evenkeel::cpu::EK_ISA
