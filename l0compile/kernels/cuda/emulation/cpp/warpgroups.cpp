// wgmma by the PTX ISA: matrices by descriptors, products that go on until they are waited for, and what may not be
// touched meanwhile. What is read of shared memory is checked in shared_memory.cpp.
#include <algorithm>
#include <cstring>

#include "half_bits.h"
#include "ptx.h"
#include "runtime_state.h"

namespace emu {

namespace {

constexpr unsigned ROWS = 64, MOST_COLUMNS = 256, MOST_K = 16, UNIT = 16;

struct Matrix {  // a descriptor, decoded
  uint32_t start, leading, stride, width;  // width: bytes of a swizzled row, or 0
};

struct Begun {  // a product under way
  Wgmma what;
  Matrix a, b;
  std::vector<uint32_t*> places;  // of 128 threads' registers
  std::vector<float> sums;        // as many; none while the product before it computes them
};

struct Group {
  std::vector<Begun> begun;
  std::vector<size_t> committed;  // products up to the end of each group
};

std::vector<Group> groups;

struct Request {  // one thread's
  Thread* thread;
  Wgmma what;
  In places;
};

Group& own_group() {
  size_t number = current->number / WARPGROUP;
  if (groups.size() <= number) groups.resize(number + 1);
  return groups[number];
}

Matrix decoded(Bits bits, const char* name) {
  constexpr uint32_t widths[] = {0, 128, 64, 32};
  auto field = [&](unsigned first) { return uint32_t(bits >> first & 0x3fff) * UNIT; };
  Matrix matrix{field(0), field(16), field(32), widths[bits >> 62]};
  if (bits & 0x3ff1c000c000c000ull & ~(7ull << 49))
    fault("Misaligned", "the descriptor of %s, %016llx, has bits set that mean nothing", name, (unsigned long long)bits);
  // The pattern of a swizzle is one of addresses; it begins where eight rows do.
  if (bits >> 49 & 7 || (matrix.width && matrix.start & (8 * matrix.width - 1) & ~127u))
    fault("Misaligned", "the descriptor of %s begins at %u: eight rows of %u bytes have to begin at a multiple of %u", name,
          matrix.start, matrix.width, 8 * matrix.width);
  return matrix;
}

// Calls each(address, row or column, k) for all 16 bytes of a matrix; they hold neighbours along k, or along the rows or
// columns if it is transposed.
template <class F>
void units(const Matrix& m, bool transposed, unsigned count, unsigned k, unsigned numbers, F each) {
  auto visit = [&](uint32_t offset, unsigned i, unsigned along_k) {
    uint32_t address = m.start + offset;
    each(m.width ? address ^ (address >> 7 & (m.width / UNIT - 1)) * UNIT : address, i, along_k);
  };
  const unsigned row = m.width ? m.width : UNIT, panel = row / UNIT;
  if (!transposed) {
    const uint32_t next = m.width ? UNIT : m.leading;
    for (unsigned i = 0; i < count; ++i)
      for (unsigned unit = 0; unit < k / numbers; ++unit) visit(i / 8 * m.stride + i % 8 * row + unit * next, i, unit * numbers);
    return;
  }
  const uint32_t of_panel = m.width ? m.leading : m.stride, of_eight = m.width ? m.stride : m.leading;
  for (unsigned i = 0; i < k; ++i)
    for (unsigned unit = 0; unit < count / numbers; ++unit)
      visit(unit % panel * UNIT + unit / panel * of_panel + i % 8 * row + i / 8 * of_eight, unit * numbers, i);
}

unsigned per_unit(Type type) { return type == Type::tf32 ? 4 : 8; }
unsigned depth(Type type) { return 2 * per_unit(type); }

template <class F>
void units_of(const Begun& one, F each) {
  const Wgmma& what = one.what;
  units(one.a, what.a_transposed, ROWS, depth(what.type), per_unit(what.type), [&](uint32_t at, unsigned i, unsigned k) { each(at, i, k, true); });
  units(one.b, what.b_transposed, what.n, depth(what.type), per_unit(what.type), [&](uint32_t at, unsigned i, unsigned k) { each(at, i, k, false); });
}

float number(Type type, uint32_t address, unsigned i) {
  uint32_t bits = 0;
  const unsigned bytes = UNIT / per_unit(type);
  memcpy(&bits, arena + address + i * bytes, bytes);
  return type == Type::f16 ? half_to_float(bits) : type == Type::bf16 ? bfloat_to_float(bits) : bits_float(bits & 0xffffe000u);
}

void perform(Begun& one) {
  static float a[ROWS][MOST_K], b[MOST_COLUMNS][MOST_K];
  const Wgmma& what = one.what;
  units_of(one, [&](uint32_t at, unsigned i, unsigned k, bool of_a) {
    const bool turned = of_a ? what.a_transposed : what.b_transposed;
    const float sign = int32_t(of_a ? what.a_sign : what.b_sign);
    for (unsigned j = 0; j < per_unit(what.type); ++j) {
      const unsigned row = turned ? i + j : i, along = turned ? k : k + j;
      (of_a ? a[row][along] : b[row][along]) = sign * number(what.type, at, j);
    }
  });
  const unsigned count = what.n / 2;
  for (unsigned thread = 0; thread < WARPGROUP; ++thread)
    for (unsigned i = 0; i < count; ++i) {
      const unsigned row = thread / WARP * 16 + thread % WARP / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + thread % 4 * 2 + i % 2;
      float& sum = one.sums[thread * count + i];
      if (!what.accumulate) sum = 0;
      for (unsigned k = 0; k < depth(what.type); ++k) sum += a[row][k] * b[column][k];
    }
}

bool overlap(const Range& x, const Range& y) { return x.from < y.to && y.from < x.to; }

// What `thread` may not touch: registers of products under way, neighbours together.
void keep_away(Thread& thread, const Group& group) {
  thread.computed.clear();
  for (const Begun& one : group.begun) {
    const unsigned count = one.what.n / 2, first = thread.number % WARPGROUP * count;
    for (unsigned i = 0; i < count; ++i) {
      const auto at = reinterpret_cast<uintptr_t>(one.places[first + i]);
      if (!thread.computed.empty() && thread.computed.back().to == at)
        thread.computed.back().to += 4;
      else
        thread.computed.push_back({at, at + 4});
    }
  }
}

Begun* same_sums(std::vector<Begun>& begun, size_t from, const std::vector<uint32_t*>& places) {
  for (size_t i = from; i < begun.size(); ++i)
    if (begun[i].places == places) return &begun[i];
  return nullptr;
}

// A product on registers that no product under way computes: they have to be there, and are not until it is waited for.
void take_registers(Begun& one, Request** requests) {
  const unsigned count = one.what.n / 2;
  one.sums.resize(one.places.size());
  for (unsigned i = 0; i < WARPGROUP; ++i) {
    Thread& thread = *requests[i]->thread;
    if (!thread.fenced) fault("Race", "wgmma at line %d adds to registers with no wgmma.fence before it", one.what.line);
    for (unsigned j = 0; j < count; ++j) {
      uint32_t* place = one.places[i * count + j];
      const Range range{reinterpret_cast<uintptr_t>(place), reinterpret_cast<uintptr_t>(place) + 4};
      auto hit = [&](const Range& other) { return overlap(range, other); };
      if (std::any_of(thread.touched.begin(), thread.touched.end(), hit))
        fault("Race", "wgmma at line %d adds to a register that was written behind the last wgmma.fence", one.what.line);
      if (std::any_of(thread.computed.begin(), thread.computed.end(), hit))
        fault("Race", "wgmma at line %d adds to registers of one of another shape that is under way", one.what.line);
      memcpy(&one.sums[i * count + j], place, 4);
    }
  }
  for (uint32_t* place : one.places) *place = ~0u;  // undefined; here NaN
}

void begin(void** deposits) {
  auto requests = reinterpret_cast<Request**>(deposits);
  Group& group = own_group();
  Begun one{requests[0]->what, decoded(requests[0]->what.a, "A"), decoded(requests[0]->what.b, "B"), {}, {}};
  for (unsigned i = 0; i < WARPGROUP; ++i) {
    const Wgmma &first = one.what, &other = requests[i]->what;
    if (first.a != other.a || first.b != other.b || first.accumulate != other.accumulate || first.n != other.n)
      fault("DivergentBarrier", "threads of a warpgroup come to wgmma at line %d with unlike descriptors", first.line);
    for (Bits place : requests[i]->places) one.places.push_back(reinterpret_cast<uint32_t*>(place));
  }
  if (!same_sums(group.begun, 0, one.places)) take_registers(one, requests);
  uint32_t shown = epoch;
  for (unsigned i = 0; i < WARPGROUP; ++i) {
    const auto& own = requests[i]->thread->shown;
    shown = std::min(shown, own.empty() ? 0 : own.back());
  }
  units_of(one, [&](uint32_t at, unsigned, unsigned, bool) { begin_product_read(at, UNIT, shown); });
  group.begun.push_back(std::move(one));
  for (unsigned i = 0; i < WARPGROUP; ++i) keep_away(*requests[i]->thread, group);
}

void finish(Group& group, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    Begun& one = group.begun[i];
    perform(one);
    units_of(one, [](uint32_t at, unsigned, unsigned, bool) { end_product_read(at, UNIT); });
    if (Begun* next = same_sums(group.begun, i + 1, one.places))
      next->sums = std::move(one.sums);
    else
      for (size_t j = 0; j < one.places.size(); ++j) memcpy(one.places[j], &one.sums[j], 4);
  }
  group.begun.erase(group.begun.begin(), group.begun.begin() + count);
}

struct Wait {
  Thread* thread;
  unsigned left;
};

void wait(void** deposits) {
  auto waits = reinterpret_cast<Wait**>(deposits);
  Group& group = own_group();
  auto& committed = group.committed;
  if (committed.size() > waits[0]->left) {
    size_t whole = committed.size() - waits[0]->left, count = committed[whole - 1];
    finish(group, count);
    committed.erase(committed.begin(), committed.begin() + whole);
    for (size_t& end : committed) end -= count;
  }
  for (unsigned i = 0; i < WARPGROUP; ++i) {
    waits[i]->thread->fenced = false;
    waits[i]->thread->touched.clear();
    keep_away(*waits[i]->thread, group);
  }
}

}  // namespace

void begin_product(const Wgmma& what, In places) {
  caller = __builtin_return_address(0);
  Request own{current, what, places};
  collect_group("wgmma.mma_async", what.line, &own, begin);
}

void fence_registers(int line) {
  collect_group("wgmma.fence", line, current, [](void** threads) {
    for (unsigned i = 0; i < WARPGROUP; ++i) {
      static_cast<Thread*>(threads[i])->fenced = true;
      static_cast<Thread*>(threads[i])->touched.clear();
    }
  });
}

void commit_products(int line) {
  collect_group("wgmma.commit_group", line, current, [](void**) { own_group().committed.push_back(own_group().begun.size()); });
}

void wait_products(int line, unsigned left) {
  Wait own{current, left};
  collect_group("wgmma.wait_group", line, &own, wait);
}

void register_access(uintptr_t at, size_t bytes, bool writes) {
  if (current->computed.empty() && !current->fenced) return;
  const Range range{at, at + bytes};
  for (const Range& other : current->computed)
    if (overlap(range, other)) fault("Race", "%s a register that a wgmma computes and nothing has waited for", writes ? "writes" : "reads");
  if (writes && current->fenced) current->touched.push_back(range);
}

void start_products() { groups.clear(); }

bool products_under_way() {
  const size_t number = current->number / WARPGROUP;
  return groups.size() > number && !groups[number].begun.empty();
}

}  // namespace emu
