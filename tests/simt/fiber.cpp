#include "simt/fiber.h"

#include <sys/mman.h>

#include <new>

#include "simt/asan.h"

namespace simt {
namespace {

constexpr std::size_t kGuard = 4096;
std::size_t fibers = 0;

boost::context::detail::fcontext_t host = nullptr;
#ifdef SIMT_ASAN
const void* host_stack = nullptr;
std::size_t host_stack_bytes = 0;
void* host_fake_stack = nullptr;
#endif

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

void Fiber::start(boost::context::detail::transfer_t from) {
  host = from.fctx;
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &host_stack, &host_stack_bytes);
#endif
  static_cast<Fiber*>(from.data)->body_();
}

void Fiber::enter() {
#ifdef SIMT_ASAN
  __sanitizer_start_switch_fiber(&host_fake_stack, stack_, kStackBytes);
#endif
  context_ = boost::context::detail::jump_fcontext(context_, this).fctx;
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(host_fake_stack, nullptr, nullptr);
#endif
}

void Fiber::leave() {
#ifdef SIMT_ASAN
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, host_stack, host_stack_bytes);
#endif
  host = boost::context::detail::jump_fcontext(host, nullptr).fctx;
#ifdef SIMT_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, &host_stack, &host_stack_bytes);
#endif
}

}  // namespace simt
