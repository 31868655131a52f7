// Shared memory of the block that runs: its arrays, and who accessed each byte since the last barrier.
#include <cstring>

#include "memory.h"

namespace emu {

namespace {

// Of each byte of shared memory. Epochs say which of two accesses a barrier lies between.
struct Cell {
  uint32_t write_epoch, write_warp_epoch, read_epoch, read_warp_epoch;
  uint32_t pending;  // the block that is copying to it asynchronously
  uint32_t shown;    // how often the writer had shown its writes to the async proxy before this one
  uint16_t writer, reader, copier;
  uint16_t products, product_group;    // wgmma under way that read it; the last of their warpgroups
  uint16_t region;                     // 0: belongs to no array
  bool atomic;                         // it was written by an atomic operation
  bool lanes_read, warps_read;         // by more than one lane of the reader's warp; by more than one warp
};

struct Region {
  size_t offset, bytes;
  const char* name;
  uint32_t block;
};

constexpr size_t GAP = 256, MOST_SHARED = 227 << 10, MOST_STATIC = 48 << 10;
constexpr uint16_t DYNAMIC = 0xffff;

Cell* cells = nullptr;
std::vector<Region> regions;  // by number of the declaration
Region dynamic;
size_t arena_used, dynamic_size;

}  // namespace

char* arena = nullptr;

void prepare_arena() {
  arena = zeros<char>(2 * ARENA);
  cells = zeros<Cell>(2 * ARENA);
}

static void place(size_t offset, size_t bytes, uint16_t number) {
  if (offset + bytes > 2 * ARENA) fault("LaunchFault", "%zu bytes of shared memory, a block has %zu", bytes, MOST_SHARED);
  memset(arena + offset, 0xff, bytes);
  for (size_t i = 0; i < bytes; ++i) cells[offset + i].region = number, cells[offset + i].products = 0;
}

void start_shared(size_t dynamic_bytes) {
  static uint32_t prepared_for = 0;
  if (dynamic_bytes > MOST_SHARED)
    fault("LaunchFault", "%zu bytes of dynamic shared memory, a block has at most %zu", dynamic_bytes, MOST_SHARED);
  if (prepared_for == launch_epoch) return;
  prepared_for = launch_epoch;
  memset(cells, 0, arena_used * sizeof(Cell));
  regions.clear();
  dynamic = {};
  dynamic_size = dynamic_bytes;
  arena_used = 4 * GAP;
}

void* dynamic_shared(size_t alignment) {
  if (!dynamic_size) fault("LaunchFault", "the kernel uses dynamic shared memory, and was launched with 0 bytes of it");
  if (!dynamic.bytes) {
    // At a multiple of what was declared, and of no more.
    size_t unit = alignment < 16 ? 16 : alignment;
    dynamic = {(arena_used + 2 * unit - 1) / (2 * unit) * (2 * unit) + unit, dynamic_size, "dynamic shared memory", 0};
    arena_used = dynamic.offset + dynamic_size + GAP;
  }
  if (dynamic.block != block_run) {
    dynamic.block = block_run;
    place(dynamic.offset, dynamic_size, DYNAMIC);
  }
  return arena + dynamic.offset;
}

void* shared_array(int id, const char* name, size_t bytes, size_t alignment) {
  if (regions.size() <= size_t(id)) regions.resize(id + 1);
  Region& region = regions[id];
  if (!region.bytes) {
    if (id >= DYNAMIC - 1) fault("LaunchFault", "more than %d shared arrays", DYNAMIC - 2);
    size_t unit = alignment < 16 ? 16 : alignment;  // as ptxas places arrays that vectors are read from
    region = {(arena_used + unit - 1) / unit * unit, bytes, name, 0};
    arena_used = region.offset + bytes + GAP;
    size_t all = 0;
    for (const Region& other : regions) all += other.bytes;
    if (all > MOST_STATIC)
      fault("LaunchFault", "%zu bytes of static shared memory with %s, a block has %zu", all, name, MOST_STATIC);
  }
  if (region.block != block_run) {
    region.block = block_run;
    place(region.offset, bytes, id + 1);
  }
  return arena + region.offset;
}

uint32_t shared_address(const void* pointer) {
  size_t offset = static_cast<const char*>(pointer) - arena;
  if (offset >= 2 * ARENA) fault("OutOfBounds", "the address of shared memory was asked of a pointer to other memory");
  return offset;
}

void* shared_pointer(uint64_t address) { return arena + (address < 2 * ARENA ? address : 0); }

static const Region& region_of(uint16_t number) { return number == DYNAMIC ? dynamic : regions[number - 1]; }

static void race(size_t offset, const char* done, unsigned other, const char* before) {
  uint16_t number = cells[offset].region;
  const Region& region = region_of(number);
  const Index& size = launch->block;
  fault("Race", "%s byte %zu of %s, which thread (%u, %u, %u) %s", done, offset - region.offset, region.name, other % size.x,
        other / size.x % size.y, other / size.x / size.y, before);
}

static void check_pending(const Cell& cell, size_t offset, const char* done) {
  if (cell.pending == block_run) race(offset, done, cell.copier, "copies to asynchronously and nothing has waited for");
}

static void read_cell(Cell& cell, size_t offset) {
  unsigned own = current->number;
  uint32_t warp_epoch = current->warp->epoch;
  check_pending(cell, offset, "reads");
  if (cell.write_epoch == epoch && cell.writer != own && !(same_warp(cell.writer) && cell.write_warp_epoch != warp_epoch))
    race(offset, "reads", cell.writer, "wrote since the last barrier");
  if (cell.read_epoch != epoch) {
    cell.read_epoch = epoch;
    cell.reader = own;
    cell.read_warp_epoch = warp_epoch;
    cell.lanes_read = cell.warps_read = false;
  } else if (!same_warp(cell.reader)) {
    cell.warps_read = true;
  } else if (cell.read_warp_epoch != warp_epoch) {
    cell.reader = own;
    cell.read_warp_epoch = warp_epoch;
    cell.lanes_read = false;
  } else if (cell.reader != own) {
    cell.lanes_read = true;
  }
}

static void write_cell(Cell& cell, size_t offset, bool atomic) {
  unsigned own = current->number;
  uint32_t warp_epoch = current->warp->epoch;
  check_pending(cell, offset, "writes");
  if (cell.products)
    race(offset, "writes", cell.product_group * WARPGROUP, "and its warpgroup read by a wgmma that nothing has waited for");
  if (cell.write_epoch == epoch && cell.writer != own && !(atomic && cell.atomic) && !(same_warp(cell.writer) && cell.write_warp_epoch != warp_epoch))
    race(offset, "writes", cell.writer, "wrote since the last barrier");
  if (cell.read_epoch == epoch) {
    bool within = cell.read_warp_epoch == warp_epoch && (cell.reader != own || cell.lanes_read);
    if (cell.warps_read || !same_warp(cell.reader) || within)
      race(offset, "writes", cell.reader, "(or another) read since the last barrier");
  }
  cell.write_epoch = epoch;
  cell.writer = own;
  cell.write_warp_epoch = warp_epoch;
  cell.atomic = atomic;
  cell.shown = current->shown.size();
}

void shared_access(uintptr_t at, size_t bytes, bool writes, bool atomic) {
  size_t offset = at - reinterpret_cast<uintptr_t>(arena);
  uint16_t number = cells[offset].region;
  for (size_t i = 0; i < bytes; ++i) {
    Cell& cell = cells[offset + i];
    if (!cell.region || cell.region != number || region_of(number).block != block_run)
      fault("OutOfBounds", "%s %zu bytes of shared memory at address %zu (dynamic: %zu bytes from %zu on), which is no array's",
            writes ? "writes" : "reads", bytes, offset, dynamic_size, dynamic.offset);
    if (writes)
      write_cell(cell, offset + i, atomic);
    else
      read_cell(cell, offset + i);
  }
}

void mark_pending(char* to, size_t bytes) {
  shared_access(reinterpret_cast<uintptr_t>(to), bytes, true, false);
  for (size_t i = 0; i < bytes; ++i) {
    Cell& cell = cells[to - arena + i];
    cell.pending = block_run;
    cell.copier = current->number;
  }
}

void end_pending(char* to, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    Cell& cell = cells[to - arena + i];
    cell.pending = 0;
    cell.write_epoch = epoch;
    cell.write_warp_epoch = current->warp->epoch;
    cell.writer = current->number;
    cell.shown = current->shown.size();
  }
}

void show_writes() { current->shown.push_back(epoch); }

template <class F>
static void cells_of_product(uint64_t address, size_t bytes, F each) {
  for (size_t offset = address; offset < address + bytes; ++offset) {
    Cell& cell = cells[offset < 2 * ARENA ? offset : 0];
    if (!cell.region || region_of(cell.region).block != block_run)
      fault("OutOfBounds", "a wgmma reads shared memory at address %zu (dynamic: %zu bytes from %zu on), which is no array's",
            offset, dynamic_size, dynamic.offset);
    each(cell, offset);
  }
}

// Products read past the generic proxy. Between a write and them come a barrier and a fence.proxy.async: of the thread
// that wrote, before the barrier, or of all threads of the warpgroup, behind it.
void begin_product_read(uint64_t address, size_t bytes, uint32_t group_shown) {
  const char* what = "reads by wgmma";
  cells_of_product(address, bytes, [&](Cell& cell, size_t offset) {
    check_pending(cell, offset, what);
    if (cell.write_epoch >= block_epoch) {
      const auto& shown = thread_of(cell.writer).shown;
      if (cell.write_epoch == epoch) race(offset, what, cell.writer, "wrote since the last barrier");
      const bool by_writer = shown.size() > cell.shown && shown[cell.shown] < epoch;
      if (!by_writer && group_shown <= cell.write_epoch)
        race(offset, what, cell.writer, "wrote, with no fence.proxy.async of its own before the barrier, or of the warpgroup behind it");
    }
    ++cell.products;
    cell.product_group = current->number / WARPGROUP;
  });
}

void end_product_read(uint64_t address, size_t bytes) {
  cells_of_product(address, bytes, [](Cell& cell, size_t) {
    --cell.products;
    cell.read_epoch = epoch;
    cell.reader = current->number;
    cell.lanes_read = cell.warps_read = true;
  });
}

}  // namespace emu
