// Arithmetic on sizes that refuses results which 64 bits do not hold. Whatever is computed from sizes that a
// user gives, before it is known that memory of that size exists, goes through these two functions.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace evenkeel {

/// The product of the factors. Throws Error, naming `op` and the factors, unless it fits in 64 bits. A factor
/// of 0 makes the product 0, but the others must fit all the same, so that strides do too.
std::int64_t checked_product(const char* op, std::initializer_list<std::int64_t> factors);
std::int64_t checked_product(const char* op, const std::int64_t* begin, const std::int64_t* end);

/// The sum of the terms, from left to right. Throws Error, naming `op` and the terms, unless every partial
/// sum fits in 64 bits. Example, the extent of a dilated kernel of R taps:
///   checked_sum("conv2d", {checked_product("conv2d", {dilation, R - 1}), 1})
std::int64_t checked_sum(const char* op, std::initializer_list<std::int64_t> terms);

}  // namespace evenkeel
