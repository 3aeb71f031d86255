#include "evenkeel/kernels/permutation.h"

#include <numeric>
#include <utility>

namespace evenkeel::cpu {

void permutation(const PermutationArgs& a) {
  std::iota(a.order, a.order + a.n, 0);
  for (std::int64_t i = a.n - 1; i > 0; --i) std::swap(a.order[i], a.order[exchange_partner(a.key, i)]);
}

}  // namespace evenkeel::cpu
