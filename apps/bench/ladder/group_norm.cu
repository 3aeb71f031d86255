#include "bench/ladder/norm_ladders.h"
#include "evenkeel/kernels/cuda/norm_sets.cuh"

namespace evenkeel::bench {

template <typename T>
Ladder<NormBackwardArgs<T>> replaced_group_norm_backward_variants() {
  using Args = NormBackwardArgs<T>;
  static constexpr Variant<Args> kRungs[] = {
      {"two_kernels", "plain, with a block for each: neighbouring threads read neighbours",
       [](const Args&) { return true; },
       [](const Args& a, Stream s) {
         cuda::run_set_norm_backward<cuda::BlockGroup>("group_norm_backward", a, cuda::Groups::of(a), s);
       }},
  };
  return kRungs;
}

template Ladder<NormBackwardArgs<float>> replaced_group_norm_backward_variants();
template Ladder<NormBackwardArgs<double>> replaced_group_norm_backward_variants();
template Ladder<NormBackwardArgs<bf16>> replaced_group_norm_backward_variants();
template Ladder<NormBackwardArgs<f16>> replaced_group_norm_backward_variants();

}  // namespace evenkeel::bench
