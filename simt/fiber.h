// Fibers on Boost.Context, with AddressSanitizer told about every switch.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

namespace simt {

/// One fiber: runs body(), which switches back to the host between pieces of work and never returns.
class Fiber {
 public:
  using Body = void (*)();
  static constexpr std::size_t kStackBytes = 128 * 1024;

  explicit Fiber(Body body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Switches from the host to this fiber; returns when a fiber calls leave().
  void enter();
  /// Switches from this fiber, which runs, to another one.
  void switch_to(Fiber& next);
  /// Switches from this fiber, which runs, to the host.
  void leave();
  /// Forgets where the fiber was: it starts at body() again. Nothing on its stack is destroyed.
  void reset();

  bool owns(const void* address) const {
    const char* p = static_cast<const char*>(address);
    return p >= stack_ && p < stack_ + kStackBytes;
  }

 private:
  static void start(boost::context::detail::transfer_t from);
  /// Jumps to a context, on its stack, and leaves in *here where to come back to.
  static void jump(boost::context::detail::fcontext_t to, boost::context::detail::fcontext_t* here,
                   const void* stack, std::size_t stack_bytes);
  static void arrive(boost::context::detail::transfer_t from, void* fake_stack);

  Body body_;
  char* mapping_;
  char* stack_;  // above a guard page
  char* top_;    // not at the same place of a page in all fibers, which the cache could not hold together
  boost::context::detail::fcontext_t context_ = nullptr;
};

}  // namespace simt
