// Fibers, and the scheduler's entry.
#pragma once
#include "runtime_state.h"

// Continues what `to` is the stack pointer of; the present one goes to `save`.
extern "C" void emu_switch(void** save, void* to);

namespace emu {

void prepare_fiber(Thread& thread, void (*start)());  // so that a switch to it begins `start`

enum class Order { forward, backward, random };

// Runs each block of a launch, one after another; `body` calls the kernel.
void run_launch(const Launch& what, void (*body)(), Order order, unsigned seed);

}  // namespace emu
