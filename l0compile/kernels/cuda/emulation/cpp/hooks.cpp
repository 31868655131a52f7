// Where control comes from: the calls that g++ -fsanitize=thread puts before each access, and signals.
#include <signal.h>

#include "memory.h"

namespace emu {

static void crashed(int number, siginfo_t* info, void*) {
  if ((number == SIGILL || number == SIGTRAP) && current) {  // where -fsanitize=bounds stops
    caller = static_cast<char*>(info->si_addr) + 1;
    fault("OutOfBounds", "an index past the end of its array");
  }
  auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  if (number == SIGSEGV && current && reinterpret_cast<uintptr_t>(current->stack) - at <= 256 * STACK)
    fault("OutOfBounds", "its stack of %zu bytes is full", STACK);
  for (const Global& buffer : globals) {
    auto start = reinterpret_cast<uintptr_t>(buffer.data);
    if (at + PAGE >= start && at < start + buffer.bytes + 2 * PAGE)
      fault("OutOfBounds", "byte %zd of %s, which has %zu", static_cast<ssize_t>(at - start), buffer.name, buffer.bytes);
  }
  fault("Crash", "signal %d at address %p", number, info->si_addr);
}

void at_crash() {
  static char stack[64 << 10];
  stack_t alternative{};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof stack;
  sigaltstack(&alternative, nullptr);
  struct sigaction action{};
  action.sa_sigaction = crashed;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigaction(number, &action, nullptr);
}

}  // namespace emu

// The calls that g++ -fsanitize=thread puts before each access.
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void* from) {
  emu::Thread* thread = emu::current;
  if (thread && thread->depth++ < emu::MOST_CALLS) thread->calls[thread->depth - 1] = from;
}
void __tsan_func_exit() {
  if (emu::current) --emu::current->depth;
}
void __tsan_read_range(void* at, unsigned long bytes) {
  emu::caller = __builtin_return_address(0);
  emu::read(at, bytes);
}
void __tsan_write_range(void* at, unsigned long bytes) {
  emu::caller = __builtin_return_address(0);
  emu::write(at, bytes);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
#define ACCESS(bytes)                                                                             \
  void __tsan_read##bytes(void* at) {                                                             \
    emu::caller = __builtin_return_address(0);  \
    emu::must_align(at, bytes, "a read of " #bytes " bytes");                                        \
    emu::read(at, bytes);                                                                         \
  }                                                                                               \
  void __tsan_write##bytes(void* at) {                                                            \
    emu::caller = __builtin_return_address(0);  \
    emu::must_align(at, bytes, "a write of " #bytes " bytes");                                       \
    emu::write(at, bytes);                                                                        \
  }                                                                                               \
  void __tsan_unaligned_read##bytes(void* at) {                                                   \
    emu::caller = __builtin_return_address(0);                                                    \
    emu::read(at, bytes);                                                                         \
  }                                                                                               \
  void __tsan_unaligned_write##bytes(void* at) {                                                  \
    emu::caller = __builtin_return_address(0);                                                    \
    emu::write(at, bytes);                                                                        \
  }                                                                                               \
  void __tsan_volatile_read##bytes(void* at) { __tsan_read##bytes(at); }                          \
  void __tsan_volatile_write##bytes(void* at) { __tsan_write##bytes(at); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
}
