#include "bench/ladder/norm_ladders.h"
#include "evenkeel/kernels/cuda/norm_sets.cuh"

namespace evenkeel::bench {

template <typename T>
Ladder<NormForwardArgs<T>> replaced_batch_norm_forward_variants() {
  using Args = NormForwardArgs<T>;
  static constexpr Variant<Args> kRungs[] = {
      {"block", "a block a channel: neighbouring threads read neighbours",
       [](const Args& a) { return a.training; },
       [](const Args& a, Stream s) {
         cuda::run_set_norm_forward<cuda::BlockGroup>("batch_norm_forward", a, cuda::Channels::of(a), s,
                                                      cuda::RunningAverage<Arithmetic<T>>::of(a));
       }},
  };
  return kRungs;
}

template <typename T>
Ladder<NormBackwardArgs<T>> replaced_batch_norm_backward_variants() {
  using Args = NormBackwardArgs<T>;
  static constexpr Variant<Args> kRungs[] = {
      {"block", "plain, with a block for each: neighbouring threads read neighbours",
       [](const Args& a) { return a.training; },
       [](const Args& a, Stream s) {
         cuda::run_set_norm_backward<cuda::BlockGroup>("batch_norm_backward", a, cuda::Channels::of(a), s);
       }},
  };
  return kRungs;
}

#define EK_INSTANTIATE(T)                                                     \
  template Ladder<NormForwardArgs<T>> replaced_batch_norm_forward_variants(); \
  template Ladder<NormBackwardArgs<T>> replaced_batch_norm_backward_variants();
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::bench
