#include "evenkeel/simt/fiber.h"

#include <sys/mman.h>

#include <new>

#include "evenkeel/simt/asan.h"

namespace simt {

using boost::context::detail::fcontext_t;
using boost::context::detail::transfer_t;

namespace {

constexpr std::size_t kGuard = 4096;
std::size_t fibers = 0;

fcontext_t host = nullptr;  // while a fiber runs
const void* host_stack = nullptr;
std::size_t host_stack_bytes = 0;
Fiber* started = nullptr;  // entered last

}  // namespace

Fiber::Fiber(Body body) : body_(body) {
  void* mapping = mmap(nullptr, kGuard + kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<char*>(mapping);
  mprotect(mapping_, kGuard, PROT_NONE);
  stack_ = mapping_ + kGuard;
  top_ = stack_ + kStackBytes - (fibers++ % 16) * 256;
  reset();
}

Fiber::~Fiber() { munmap(mapping_, kGuard + kStackBytes); }

void Fiber::reset() {
  SIMT_UNPOISON(stack_, kStackBytes);
  context_ =
      boost::context::detail::make_fcontext(top_, static_cast<std::size_t>(top_ - stack_), &Fiber::start);
}

inline void Fiber::arrive(transfer_t from, [[maybe_unused]] void* fake_stack) {
  *static_cast<fcontext_t*>(from.data) = from.fctx;
#ifdef SIMT_ASAN
  const bool from_host = from.data == &host;
  __sanitizer_finish_switch_fiber(fake_stack, from_host ? &host_stack : nullptr,
                                  from_host ? &host_stack_bytes : nullptr);
#endif
}

inline void Fiber::jump(fcontext_t to, fcontext_t* here, [[maybe_unused]] const void* stack,
                        [[maybe_unused]] std::size_t stack_bytes) {
  void* fake_stack = nullptr;
#ifdef SIMT_ASAN
  __sanitizer_start_switch_fiber(&fake_stack, stack, stack_bytes);
#endif
  arrive(boost::context::detail::jump_fcontext(to, here), fake_stack);
}

void Fiber::start(transfer_t from) {
  arrive(from, nullptr);
  started->body_();
}

void Fiber::enter() {
  started = this;
  jump(context_, &host, stack_, kStackBytes);
}

void Fiber::switch_to(Fiber& next) {
  started = &next;
  jump(next.context_, &context_, next.stack_, kStackBytes);
}

void Fiber::leave() { jump(host, &context_, host_stack, host_stack_bytes); }

}  // namespace simt
