// Buffers in global memory, and who wrote each byte of them in this launch; and the check that each access goes through.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "memory.h"

extern "C" char __executable_start, _end;

namespace emu {

// Of each byte of global memory: who wrote it last in this launch.
struct GlobalCell {
  uint32_t writer, epoch;  // number of the thread in the grid, plus one
  bool atomic;
};

std::vector<Global> globals;
bool float_atomics = false;

static std::vector<uint32_t> fenced, acquired;  // by block: the epoch of its last fence; the launch of its last atomic

void add_global(const char* name, const char* data, size_t bytes) {
  size_t room = (bytes + PAGE - 1) / PAGE * PAGE;
  char* at = zeros<char>(room + 2 * PAGE);
  mprotect(at, PAGE, PROT_NONE);
  mprotect(at + PAGE + room, PAGE, PROT_NONE);
  memcpy(at + PAGE, data, bytes);
  globals.push_back({name, at + PAGE, bytes, zeros<GlobalCell>(bytes ? bytes : 1)});
}

static void global_cell(GlobalCell& cell, const Global& buffer, size_t offset, bool writes, bool atomic) {
  unsigned threads = launch->block.x * launch->block.y * launch->block.z;
  unsigned block = block_number(), own = block * threads + current->number + 1;
  if (cell.writer && cell.epoch >= launch_epoch && cell.writer != own && !(atomic && cell.atomic)) {
    unsigned other = (cell.writer - 1) / threads, thread = (cell.writer - 1) % threads;
    bool handed_on = fenced.size() > other && fenced[other] >= cell.epoch && acquired.size() > block &&
                     acquired[block] == launch_epoch;
    if (other != block && !handed_on)
      fault("Race", "%s byte %zu of %s, which block %u wrote in the same launch", writes ? "writes" : "reads", offset,
            buffer.name, other);
    if (other == block && cell.epoch == epoch && !same_warp(thread))
      fault("Race", "%s byte %zu of %s, which thread %u wrote since the last barrier", writes ? "writes" : "reads",
            offset, buffer.name, thread);
  }
  if (writes) cell = {own, epoch, atomic};
}

static void global_access(Global& buffer, uintptr_t at, size_t bytes, bool writes, bool atomic) {
  size_t offset = at - reinterpret_cast<uintptr_t>(buffer.data);
  if (offset + bytes > buffer.bytes)
    fault("OutOfBounds", "%s %zu bytes at byte %zu of %s, which has %zu", writes ? "writes" : "reads", bytes, offset,
          buffer.name, buffer.bytes);
  for (size_t i = 0; i < bytes; ++i) global_cell(buffer.cells[offset + i], buffer, offset + i, writes, atomic);
}

static void access(uintptr_t at, size_t bytes, bool writes, bool atomic = false) {
  static size_t last = 0;
  if (!current) return;
  if (at - reinterpret_cast<uintptr_t>(current->stack) < STACK) return register_access(at, bytes, writes);
  if (at - reinterpret_cast<uintptr_t>(arena) < 2 * ARENA) return shared_access(at, bytes, writes, atomic);
  auto inside = [&](const Global& buffer) {
    return at - reinterpret_cast<uintptr_t>(buffer.data) < (buffer.bytes + PAGE - 1) / PAGE * PAGE;
  };
  if (last < globals.size() && inside(globals[last])) return global_access(globals[last], at, bytes, writes, atomic);
  for (last = 0; last < globals.size(); ++last)
    if (inside(globals[last])) return global_access(globals[last], at, bytes, writes, atomic);
  auto start = reinterpret_cast<uintptr_t>(&__executable_start), end = reinterpret_cast<uintptr_t>(&_end);
  if (at >= start && at < end) return;  // constants, and variables of the source
  const Global* nearest = nullptr;
  intptr_t distance = 0;
  for (const Global& buffer : globals) {
    intptr_t from = static_cast<intptr_t>(at - reinterpret_cast<uintptr_t>(buffer.data));
    if (!nearest || std::abs(from) < std::abs(distance)) nearest = &buffer, distance = from;
  }
  if (nearest)
    fault("OutOfBounds", "%s %zu bytes outside of every buffer: at byte %zd of %s, which has %zu", writes ? "writes" : "reads",
          bytes, static_cast<ssize_t>(distance), nearest->name, nearest->bytes);
  fault("OutOfBounds", "%s %zu bytes outside of every buffer", writes ? "writes" : "reads", bytes);
}

void read(const void* at, size_t bytes) { access(reinterpret_cast<uintptr_t>(at), bytes, false); }
void read_unchanging(const void* at, size_t bytes) {
  read(at, bytes);
  for (const Global& buffer : globals) {
    size_t offset = static_cast<const char*>(at) - buffer.data;
    for (size_t i = offset; offset < buffer.bytes && i < offset + bytes; ++i)
      if (buffer.cells[i].writer && buffer.cells[i].epoch >= launch_epoch)
        fault("Race", "reads byte %zu of %s by ld.global.nc, and this launch has written it", i, buffer.name);
  }
}

void write(void* at, size_t bytes) { access(reinterpret_cast<uintptr_t>(at), bytes, true); }

void aligned(const void* at, size_t alignment, const char* what) {
  caller = __builtin_return_address(0);
  must_align(at, alignment, what);
}

void must_align(const void* at, size_t alignment, const char* what) {
  if (reinterpret_cast<uintptr_t>(at) % alignment) {
    size_t off = reinterpret_cast<uintptr_t>(at) % alignment;
    fault("Misaligned", "%s needs an address that is a multiple of %zu, this one is %zu past one", what, alignment, off);
  }
}

void atomic(void* at, size_t bytes, bool floating) {
  caller = __builtin_return_address(0);
  must_align(at, bytes, "an atomic operation");
  float_atomics |= floating;
  unsigned block = block_number();
  if (acquired.size() <= block) acquired.resize(block + 1);
  acquired[block] = launch_epoch;
  access(reinterpret_cast<uintptr_t>(at), bytes, true, true);
}

void fence() {
  unsigned block = block_number();
  if (fenced.size() <= block) fenced.resize(block + 1);
  fenced[block] = epoch;
}

}  // namespace emu
