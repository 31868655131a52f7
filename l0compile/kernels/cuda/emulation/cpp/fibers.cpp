// Threads of a block as fibers: the scheduler, block barriers, and warp instructions that wait for their lanes.
#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <unistd.h>

#include "fibers.h"

namespace emu {

Thread* current = nullptr;
Index current_block;
void* caller = nullptr;
const Launch* launch = nullptr;
uint32_t epoch = 1, block_run = 0, block_epoch = 1, launch_epoch = 1;

static std::vector<Thread> threads;
static std::vector<Warp> warps;
static std::vector<Meeting> meetings;  // by warpgroup
static std::vector<unsigned> warp_order;
static unsigned lane_order[WARP];
static char* stacks = nullptr;
static void* scheduler_pointer;
static void (*body)();
static Order order;
static std::mt19937 chance;

Index thread_index() { return current->index; }
Index block_index() { return current_block; }
Index block_size() { return launch->block; }
Index grid_size() { return launch->grid; }
unsigned lane() { return current->lane; }
uint32_t live_lanes() { return current->warp->live; }

Thread& thread_of(unsigned number) { return threads[number]; }

unsigned block_number() {
  return (current_block.z * launch->grid.y + current_block.y) * launch->grid.x + current_block.x;
}

void fault(const char* kind, const char* format, ...) {
  fprintf(stderr, "\nemulation fault: %s\n", kind);
  if (launch) fprintf(stderr, "kernel %s", launch->name);
  if (current)
    fprintf(stderr, ", block (%u, %u, %u), thread (%u, %u, %u)", current_block.x, current_block.y, current_block.z,
            current->index.x, current->index.y, current->index.z);
  fprintf(stderr, ": ");
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  // Where the kernel called the function that did it, if it was one; helpers are called from many places.
  if (current && current->depth > 1) caller = current->calls[1];
  fprintf(stderr, "\nend of fault\naddress %p\n", caller);
  fflush(stderr);
  _exit(3);
}

static void to_scheduler() { emu_switch(&current->stack_pointer, scheduler_pointer); }

static void wait_in(State state, const char* what, int line) {
  caller = nullptr;
  current->state = state;
  current->what = what;
  current->line = line;
  to_scheduler();
}

static bool complete(Warp& warp, size_t at) {
  Gathering& gathering = warp.gatherings[at];
  if (gathering.arrived != (gathering.mask & warp.live)) return false;
  Gathering whole = gathering;
  warp.gatherings.erase(warp.gatherings.begin() + at);
  whole.join(whole.deposits, whole.arrived);
  unsigned first = (&warp - warps.data()) * WARP;
  for (unsigned i = 0; i < WARP && first + i < threads.size(); ++i)
    if (whole.arrived >> i & 1) threads[first + i].state = State::ready;
  return true;
}

void collect(const char* what, int line, uint32_t mask, void* deposit, Join join, bool whole_warp) {
  Warp& warp = *current->warp;
  uint32_t own = 1u << current->lane;
  if (!(mask & own)) fault("DivergentBarrier", "%s at line %d: lane %u is not in its mask %08x", what, line, current->lane, mask);
  if (whole_warp && warp.live != 0xffffffffu)
    fault("DivergentBarrier", "%s at line %d needs all 32 lanes of the warp, %08x are there", what, line, warp.live);
  size_t at = 0;
  for (; at < warp.gatherings.size(); ++at) {
    Gathering& other = warp.gatherings[at];
    if (other.mask == mask && other.line == line && (other.what == what || !strcmp(other.what, what))) break;
    if (other.mask & mask & warp.live)
      fault("DivergentBarrier", "lanes of one warp wait in %s at line %d (mask %08x) and in %s at line %d (mask %08x)",
            other.what, other.line, other.mask, what, line, mask);
  }
  if (at == warp.gatherings.size()) warp.gatherings.push_back({what, line, mask, 0, {}, join});
  warp.gatherings[at].arrived |= own;
  warp.gatherings[at].deposits[current->lane] = deposit;
  if (!complete(warp, at)) wait_in(State::at_collective, what, line);
}

void collect_group(const char* what, int line, void* deposit, GroupJoin join) {
  const unsigned group = current->number / WARPGROUP, first = group * WARPGROUP;
  if (first + WARPGROUP > threads.size())
    fault("DivergentBarrier", "%s at line %d needs the 128 threads of a warpgroup, the block has %zu threads", what, line, threads.size());
  if (meetings.size() <= group) meetings.resize(group + 1);
  Meeting& meeting = meetings[group];
  if (!meeting.arrived)
    meeting.what = what, meeting.line = line;
  else if (meeting.line != line || strcmp(meeting.what, what))
    fault("DivergentBarrier", "comes to %s at line %d, others of its warpgroup wait in %s at line %d", what, line, meeting.what, meeting.line);
  meeting.deposits[current->number - first] = deposit;
  if (++meeting.arrived < WARPGROUP) return wait_in(State::at_collective, what, line);
  meeting.arrived = 0;
  Meeting whole = meeting;
  join(whole.deposits);
  for (unsigned i = 0; i < WARPGROUP; ++i)
    if (&threads[first + i] != current) threads[first + i].state = State::ready;
}

void warp_barrier(int line, uint32_t mask) {
  // Only a barrier of all lanes orders what they do; after one of some lanes an access still counts as unordered.
  collect("__syncwarp", line, mask, current->warp, [](void** deposits, uint32_t came) {
    auto* warp = static_cast<Warp*>(deposits[__builtin_ctz(came)]);
    if (came == warp->live) ++warp->epoch;
  }, false);
}

void barrier(int line) { wait_in(State::at_barrier, "__syncthreads", line); }

static void fiber_main() {
  body();
  if (products_under_way()) fault("Race", "ends, and a wgmma of its warpgroup has not been waited for");
  Warp& warp = *current->warp;
  current->state = State::done;
  warp.live &= ~(1u << current->lane);
  for (size_t at = 0; at < warp.gatherings.size();)
    if (!complete(warp, at)) ++at;
  to_scheduler();
  abort();
}

static void shuffle_orders() {
  for (unsigned i = 0; i < warp_order.size(); ++i) warp_order[i] = i;
  for (unsigned i = 0; i < WARP; ++i) lane_order[i] = i;
  if (order == Order::backward) {
    std::reverse(warp_order.begin(), warp_order.end());
    std::reverse(lane_order, lane_order + WARP);
  } else if (order == Order::random) {
    std::shuffle(warp_order.begin(), warp_order.end(), chance);
    std::shuffle(lane_order, lane_order + WARP, chance);
  }
}

// Runs a warp as far as it comes: until each of its lanes waits for another warp, or has ended.
static bool run_warp(unsigned number) {
  bool ran = false;
  for (bool again = true; again; ran |= again) {
    again = false;
    for (unsigned i : lane_order) {
      unsigned at = number * WARP + i;
      if (at >= threads.size() || threads[at].state != State::ready) continue;
      again = true;
      current = &threads[at];
      emu_switch(&scheduler_pointer, current->stack_pointer);
      current = nullptr;
    }
  }
  return ran;
}

// Nothing can run: either all live threads are at one barrier, or this is a fault.
static bool release_barrier() {
  const Thread* first = nullptr;
  const Thread* stuck = nullptr;
  for (const Thread& thread : threads) {
    if (thread.state == State::done) continue;
    if (thread.state == State::at_collective) stuck = &thread;
    if (thread.state == State::at_barrier && !first) first = &thread;
  }
  if (!first && !stuck) return false;
  if (stuck && !first && stuck->warp->gatherings.empty()) {
    current = const_cast<Thread*>(stuck);
    fault("Deadlock", "waits in %s at line %d for the other threads of its warpgroup, of which only %u came", stuck->what, stuck->line,
          meetings[stuck->number / WARPGROUP].arrived);
  }
  if (stuck && !first) {
    const Gathering& gathering = stuck->warp->gatherings[0];
    current = const_cast<Thread*>(stuck);
    fault("Deadlock", "waits in %s at line %d for lanes %08x, of which only %08x came", gathering.what, gathering.line,
          gathering.mask & stuck->warp->live, gathering.arrived);
  }
  current = const_cast<Thread*>(first);
  if (stuck)
    fault("DivergentBarrier", "waits in __syncthreads at line %d, which thread (%u, %u, %u) never reaches: it waits in %s at line %d",
          first->line, stuck->index.x, stuck->index.y, stuck->index.z, stuck->what, stuck->line);
  for (const Thread& thread : threads) {
    if (thread.state == State::at_barrier && thread.line != first->line)
      fault("DivergentBarrier", "waits in __syncthreads at line %d, thread (%u, %u, %u) in that at line %d", first->line,
            thread.index.x, thread.index.y, thread.index.z, thread.line);
    // A GPU lets the others pass when threads have ended; code that relies on it is rarely meant to.
    if (thread.state == State::done)
      fault("DivergentBarrier", "waits in __syncthreads at line %d, and thread (%u, %u, %u) has ended", first->line,
            thread.index.x, thread.index.y, thread.index.z);
  }
  current = nullptr;
  for (Thread& thread : threads)
    if (thread.state == State::at_barrier) thread.state = State::ready;
  ++epoch;
  return true;
}

static void prepare_block() {
  unsigned count = launch->block.x * launch->block.y * launch->block.z;
  if (!stacks) {
    stacks = static_cast<char*>(mmap(nullptr, MOST_THREADS * (STACK + PAGE), PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks == MAP_FAILED) fault("Crash", "no memory for the stacks of the threads");
    for (unsigned i = 0; i < MOST_THREADS; ++i) mprotect(stacks + i * (STACK + PAGE), PAGE, PROT_NONE);
  }
  threads.resize(count);
  warps.assign((count + WARP - 1) / WARP, Warp{0, epoch, {}});
  warp_order.resize(warps.size());
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = threads[i];
    thread.stack = stacks + i * (STACK + PAGE) + PAGE;
    thread.index = {i % launch->block.x, i / launch->block.x % launch->block.y, i / launch->block.x / launch->block.y};
    thread.warp = &warps[i / WARP];
    thread.number = i;
    thread.lane = i % WARP;
    thread.warp->live |= 1u << thread.lane;
    thread.state = State::ready;
    thread.depth = 0;
    thread.copies.clear();
    thread.groups.clear();
    thread.shown.clear();
    thread.computed.clear();
    thread.touched.clear();
    thread.fenced = false;
    prepare_fiber(thread, fiber_main);
  }
}

static void run_block() {
  block_epoch = ++epoch;
  ++block_run;
  meetings.clear();
  prepare_block();
  start_products();
  start_shared(launch->dynamic_bytes);
  do {
    shuffle_orders();
    for (bool ran = true; ran;) {
      ran = false;
      for (unsigned warp : warp_order) ran |= run_warp(warp);
    }
  } while (release_barrier());
}

void run_launch(const Launch& what, void (*kernel_body)(), Order in, unsigned seed) {
  launch = &what;
  body = kernel_body;
  order = in;
  chance.seed(seed);
  launch_epoch = ++epoch;
  const Index& grid = what.grid;
  std::vector<unsigned> blocks(size_t(grid.x) * grid.y * grid.z);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  if (in == Order::backward) std::reverse(blocks.begin(), blocks.end());
  if (in == Order::random) std::shuffle(blocks.begin(), blocks.end(), chance);
  for (unsigned i : blocks) {
    current_block = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    run_block();
  }
}

}  // namespace emu
