// What the emulated CUDA headers ask of the runtime. The kernel is compiled with -fsanitize=thread, whose calls the
// runtime answers itself (hooks.cpp): each load and store of a kernel is checked before it happens.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu {

struct Index {
  unsigned x, y, z;
};

// Constant for a fiber, so the compiler may keep what they return.
__attribute__((const)) Index thread_index();
__attribute__((const)) Index block_index();
__attribute__((const)) Index block_size();
__attribute__((const)) Index grid_size();
__attribute__((const)) unsigned lane();

[[noreturn]] void fault(const char* kind, const char* format, ...) __attribute__((format(printf, 2, 3)));

void barrier(int line);
// Calls `join` once, when every live lane of `mask` has come with its deposit; returns when it has.
using Join = void (*)(void** deposits, uint32_t mask);
void collect(const char* what, int line, uint32_t mask, void* deposit, Join join, bool whole_warp);
// The same for the four warps of a warpgroup; `join` gets 128 deposits.
using GroupJoin = void (*)(void** deposits);
void collect_group(const char* what, int line, void* deposit, GroupJoin join);
void warp_barrier(int line, uint32_t mask);
uint32_t live_lanes();

void* shared_array(int id, const char* name, size_t bytes, size_t alignment);
void* dynamic_shared(size_t alignment);
uint32_t shared_address(const void* pointer);
void* shared_pointer(uint64_t address);

void read(const void* at, size_t bytes);
void write(void* at, size_t bytes);
void atomic(void* at, size_t bytes, bool floating);
void fence();
void aligned(const void* at, size_t alignment, const char* what);

void copy_async(uint64_t shared, const void* from, unsigned bytes, unsigned given);
void commit_copies();
void wait_copies(unsigned groups_left);
void wait_all_copies();
void show_writes();  // fence.proxy.async

}  // namespace emu
