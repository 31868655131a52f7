// State that the parts of the runtime share: threads as fibers, warps, the block that runs, buffers.
#pragma once
#include <vector>

#include "runtime.h"

namespace emu {

constexpr size_t STACK = 256 << 10, ARENA = 256 << 10, PAGE = 4096;
constexpr unsigned WARP = 32, WARPGROUP = 128, MOST_THREADS = 1024, MOST_CALLS = 8;

enum class State { ready, at_barrier, at_collective, done };

struct Copy {
  char* to;
  const char* from;
  unsigned bytes, given;
};

struct Range {
  uintptr_t from, to;  // `to` is the end
};

struct Warp;

struct Thread {
  void* stack_pointer;
  char* stack;
  Index index;
  Warp* warp;
  unsigned number, lane;
  State state;
  int line;          // of the barrier or warp instruction it waits in
  const char* what;  // its name
  unsigned depth;    // of calls; the first is that of the kernel
  void* calls[MOST_CALLS];
  std::vector<Copy> copies;
  std::vector<size_t> groups;  // number of copies up to the end of each committed group
  std::vector<uint32_t> shown;  // the epoch of each fence.proxy.async
  // For wgmma: registers that products compute, and those written since the last wgmma.fence while there was one.
  std::vector<Range> computed, touched;
  bool fenced;
};

struct Gathering {  // lanes that wait in one warp instruction
  const char* what;
  int line;
  uint32_t mask, arrived;
  void* deposits[WARP];
  Join join;
};

struct Meeting {  // threads that wait in one instruction of a warpgroup
  const char* what;
  int line;
  unsigned arrived;
  void* deposits[WARPGROUP];
};

struct Warp {
  uint32_t live, epoch;
  std::vector<Gathering> gatherings;
};

struct Global {
  const char* name;
  char* data;
  size_t bytes;
  struct GlobalCell* cells;
};

struct Launch {
  const char* name;
  Index grid, block;
  size_t dynamic_bytes;
};

extern Thread* current;        // the fiber that runs; null in the scheduler
extern void* caller;            // where in the kernel the access is that is checked
extern Index current_block;    // blockIdx
extern const Launch* launch;
extern uint32_t epoch;         // counts barriers of blocks, and their starts
extern uint32_t block_run;     // counts blocks that ran
extern uint32_t block_epoch;   // the epoch in which this block began
extern uint32_t launch_epoch;  // the epoch in which this launch began
extern std::vector<Global> globals;
extern char* arena;
extern bool float_atomics;

unsigned block_number();
void start_shared(size_t dynamic_bytes);  // before each block
void shared_access(uintptr_t at, size_t bytes, bool writes, bool atomic);
void read_unchanging(const void* at, size_t bytes);  // through a cache that does not see writes
void must_align(const void* at, size_t alignment, const char* what);
void mark_pending(char* to, size_t bytes);
void end_pending(char* to, size_t bytes);
Thread& thread_of(unsigned number);
// wgmma reads `bytes` at a shared address, from the first call until the second, when it has been waited for.
// `shown`: the earliest of the epochs in which the threads of its warpgroup last called fence.proxy.async.
void begin_product_read(uint64_t address, size_t bytes, uint32_t shown);
void end_product_read(uint64_t address, size_t bytes);
void register_access(uintptr_t at, size_t bytes, bool writes);  // to the stack of `current`
void start_products();        // before each block
bool products_under_way();    // of the warpgroup of `current`
void add_global(const char* name, const char* data, size_t bytes);
void prepare_arena();
void at_crash();

}  // namespace emu
