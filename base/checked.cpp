#include "evenkeel/base/checked.h"

#include "evenkeel/base/error.h"

namespace evenkeel {

std::int64_t checked_product(const char* op, const std::int64_t* begin, const std::int64_t* end) {
  std::int64_t product = 1;
  bool is_zero = false;
  for (const std::int64_t* factor = begin; factor != end; ++factor) {
    is_zero |= *factor == 0;
    EK_CHECK(*factor == 0 || !__builtin_mul_overflow(product, *factor, &product),
             "{}: the product {} is too large for 64 bits; use smaller sizes", op,
             fmt::join(begin, end, " * "));
  }
  return is_zero ? 0 : product;
}

std::int64_t checked_product(const char* op, std::initializer_list<std::int64_t> factors) {
  return checked_product(op, factors.begin(), factors.end());
}

std::int64_t checked_sum(const char* op, std::initializer_list<std::int64_t> terms) {
  std::int64_t sum = 0;
  for (std::int64_t term : terms) {
    EK_CHECK(!__builtin_add_overflow(sum, term, &sum),
             "{}: the sum {} is too large for 64 bits; use smaller sizes", op, fmt::join(terms, " + "));
  }
  return sum;
}

}  // namespace evenkeel
