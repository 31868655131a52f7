// Switching between fibers: by hand on x86-64, since the system's own way asks the kernel each time; elsewhere by that.
#include "fibers.h"

#if !defined(__x86_64__) || defined(EMU_UCONTEXT)
#include <ucontext.h>
#endif

namespace emu {

#if defined(__x86_64__) && !defined(EMU_UCONTEXT)
asm(R"(
.text
.globl emu_switch
.type emu_switch, @function
emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emu_switch, .-emu_switch
)");
void prepare_fiber(Thread& thread, void (*start)()) {
  // As if emu_switch had been called at the start of `start`: six registers and the address to return to.
  auto** top = reinterpret_cast<void**>(thread.stack + STACK - 64);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(start);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  thread.stack_pointer = top;
}
#else
extern "C" void emu_switch(void** save, void* to) {
  static ucontext_t scheduler;
  auto* from = *save ? reinterpret_cast<ucontext_t*>(*save) : &scheduler;
  *save = from;
  swapcontext(from, reinterpret_cast<ucontext_t*>(to));
}
void prepare_fiber(Thread& thread, void (*start)()) {
  auto* context = reinterpret_cast<ucontext_t*>(thread.stack);  // the far end of the stack holds it
  getcontext(context);
  context->uc_stack.ss_sp = thread.stack + sizeof(ucontext_t);
  context->uc_stack.ss_size = STACK - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, start, 0);
  thread.stack_pointer = context;
}
#endif

}  // namespace emu
