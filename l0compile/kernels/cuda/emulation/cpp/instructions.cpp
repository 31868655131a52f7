// Instructions of a warp by the PTX ISA: who holds which element of a fragment, and what comes of it.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "half_bits.h"
#include "ptx.h"
#include "runtime_state.h"

namespace emu {

namespace {

struct Product {  // one lane's part of an mma
  const int m, k;
  const Type d, a_type, b_type;
  uint32_t a[4], b[4], c[4], result[4];
};

// Registers hold 1, 2 or 4 elements along k; the lane with number 4 g + t holds row g (a, c) or column g (b).
unsigned elements(Type type) { return type == Type::tf32 ? 1 : type == Type::s8 || type == Type::u8 ? 4 : 2; }

template <class T>
T element(Type type, uint32_t bits, unsigned i) {
  switch (type) {
    case Type::f16: return half_to_float(bits >> 16 * i);
    case Type::bf16: return bfloat_to_float(bits >> 16 * i);
    case Type::tf32: return bits_float(bits & 0xffffe000u);  // the unit does not read the low 13 bits
    case Type::s8: return static_cast<int8_t>(bits >> 8 * i);
    default: return static_cast<uint8_t>(bits >> 8 * i);
  }
}

template <class T>
void multiply(void** deposits) {
  auto lanes = reinterpret_cast<Product**>(deposits);
  const Product& one = *lanes[0];
  const unsigned per = elements(one.a_type), halves = one.m / 8, steps = one.k / (4 * per);
  static T a[16][64], b[64][8];
  for (unsigned lane = 0; lane < WARP; ++lane) {
    unsigned group = lane / 4, thread = lane % 4;
    for (unsigned step = 0; step < steps; ++step)
      for (unsigned i = 0; i < per; ++i) {
        unsigned k = (step * 4 + thread) * per + i;
        for (unsigned half = 0; half < halves; ++half)
          a[group + 8 * half][k] = element<T>(one.a_type, lanes[lane]->a[step * halves + half], i);
        b[k][group] = element<T>(one.b_type, lanes[lane]->b[step], i);
      }
  }
  for (unsigned lane = 0; lane < WARP; ++lane)
    for (unsigned half = 0; half < halves; ++half)
      for (unsigned i = 0; i < 2; ++i) {
        unsigned row = lane / 4 + 8 * half, column = lane % 4 * 2 + i;
        Product& own = *lanes[lane];
        const bool packed = one.d == Type::f16;
        uint32_t& to = own.result[packed ? half : half * 2 + i];
        uint32_t from = own.c[packed ? half : half * 2 + i];
        if constexpr (std::is_same_v<T, float>) {
          float sum = packed ? half_to_float(from >> 16 * i) : bits_float(from);
          for (int k = 0; k < one.k; ++k) sum += a[row][k] * b[k][column];
          if (packed)
            to = i ? (to & 0xffff) | uint32_t(float_to_half(sum)) << 16 : float_to_half(sum);
          else
            to = float_bits(sum);
        } else {
          uint32_t sum = from;  // wraps
          for (int k = 0; k < one.k; ++k) sum += uint32_t(a[row][k] * b[k][column]);
          to = sum;
        }
      }
}

struct Rows {  // one lane's part of an ldmatrix or stmatrix
  unsigned count;
  bool transposed;
  uint16_t row[8];      // the row whose address this lane gave
  uint32_t registers[4];
};

// Element i of the register of `lane` for a matrix: its row and column.
unsigned row_of(bool transposed, unsigned lane, unsigned i) { return transposed ? lane % 4 * 2 + i : lane / 4; }
unsigned column_of(bool transposed, unsigned lane, unsigned i) { return transposed ? lane / 4 : lane % 4 * 2 + i; }

}  // namespace

void mma(int line, int m, int k, Type d, Type a, Type b, Out to, In of_a, In of_b, In of_c) {
  Product own{m, k, d, a, b, {}, {}, {}, {}};
  std::copy(of_a.begin(), of_a.end(), own.a);
  std::copy(of_b.begin(), of_b.end(), own.b);
  std::copy(of_c.begin(), of_c.end(), own.c);
  bool integers = d == Type::s32;
  collect("mma.sync", line, ~0u, &own,
          integers ? [](void** lanes, uint32_t) { multiply<int>(lanes); } : [](void** lanes, uint32_t) { multiply<float>(lanes); },
          true);
  unsigned i = 0;
  for (Bits* one : to) *one = own.result[i++];
}

void ldmatrix(int line, bool transposed, Out to, Bits address) {
  caller = __builtin_return_address(0);
  Rows own{static_cast<unsigned>(to.size()), transposed, {}, {}};
  if (current->lane < 8 * own.count) {
    const void* from = shared_pointer(address);
    must_align(from, 16, "a row of ldmatrix");
    read(from, 16);
    memcpy(own.row, from, 16);
  }
  collect("ldmatrix", line, ~0u, &own, [](void** deposits, uint32_t) {
    auto lanes = reinterpret_cast<Rows**>(deposits);
    for (unsigned lane = 0; lane < WARP; ++lane)
      for (unsigned matrix = 0; matrix < lanes[0]->count; ++matrix)
        for (unsigned i = 0; i < 2; ++i) {
          bool turned = lanes[0]->transposed;
          uint32_t value = lanes[matrix * 8 + row_of(turned, lane, i)]->row[column_of(turned, lane, i)];
          lanes[lane]->registers[matrix] |= value << 16 * i;
        }
  }, true);
  unsigned i = 0;
  for (Bits* one : to) *one = own.registers[i++];
}

void stmatrix(int line, bool transposed, Bits address, In of) {
  caller = __builtin_return_address(0);
  Rows own{static_cast<unsigned>(of.size()), transposed, {}, {}};
  std::copy(of.begin(), of.end(), own.registers);
  collect("stmatrix", line, ~0u, &own, [](void** deposits, uint32_t) {
    auto lanes = reinterpret_cast<Rows**>(deposits);
    for (unsigned lane = 0; lane < WARP; ++lane)
      for (unsigned matrix = 0; matrix < lanes[0]->count; ++matrix)
        for (unsigned i = 0; i < 2; ++i) {
          bool turned = lanes[0]->transposed;
          lanes[matrix * 8 + row_of(turned, lane, i)]->row[column_of(turned, lane, i)] = lanes[lane]->registers[matrix] >> 16 * i;
        }
  }, true);
  if (current->lane < 8 * own.count) {
    void* to = shared_pointer(address);
    must_align(to, 16, "a row of stmatrix");
    write(to, 16);
    memcpy(to, own.row, 16);
  }
}

void load(bool shared, bool cached, unsigned bytes, Out to, Bits address) {
  caller = __builtin_return_address(0);
  auto* from = static_cast<const char*>(shared ? shared_pointer(address) : reinterpret_cast<void*>(address));
  must_align(from, bytes * to.size(), "a load");
  (cached ? read_unchanging : read)(from, bytes * to.size());
  for (Bits* one : to) {
    *one = 0;
    memcpy(one, from, bytes);
    from += bytes;
  }
}

void store(bool shared, unsigned bytes, Bits address, In of) {
  caller = __builtin_return_address(0);
  auto* to = static_cast<char*>(shared ? shared_pointer(address) : reinterpret_cast<void*>(address));
  must_align(to, bytes * of.size(), "a store");
  write(to, bytes * of.size());
  for (Bits one : of) {
    memcpy(to, &one, bytes);
    to += bytes;
  }
}

Bits unary(const char* name, Bits bits) {
  float x = bits_float(bits), y = NAN;
  if (!strcmp(name, "ex2")) y = exp2f(x);
  if (!strcmp(name, "lg2")) y = log2f(x);
  if (!strcmp(name, "rcp")) y = 1 / x;
  if (!strcmp(name, "rsqrt")) y = 1 / sqrtf(x);
  if (!strcmp(name, "sqrt")) y = sqrtf(x);
  if (!strcmp(name, "tanh")) y = tanhf(x);
  return float_bits(y);
}

Bits flushed(Bits x) { return x & 0x7f800000u ? x : x & 0x80000000u; }

Bits round_tf32(Bits x) { return (x & 0x7f800000u) == 0x7f800000u ? x : (x + 0x1000u) & 0xffffe000u; }  // ties away

Bits narrow(Type type, Bits x) { return type == Type::f16 ? float_to_half(bits_float(x)) : float_to_bfloat(bits_float(x)); }

Bits widen(Type type, Bits x) { return float_bits(type == Type::f16 ? half_to_float(x) : bfloat_to_float(x)); }

Bits pack(Type type, Bits high, Bits low) { return narrow(type, high) << 16 | narrow(type, low); }

Bits dp4a(bool a_signed, bool b_signed, Bits a, Bits b, Bits c) {
  uint32_t sum = c;
  for (unsigned i = 0; i < 4; ++i)
    sum += uint32_t(element<int>(a_signed ? Type::s8 : Type::u8, a, i) * element<int>(b_signed ? Type::s8 : Type::u8, b, i));
  return sum;
}

void copy_async(uint64_t shared, const void* from, unsigned bytes, unsigned given) {
  caller = __builtin_return_address(0);
  auto* to = static_cast<char*>(shared_pointer(shared));
  if (given > bytes) fault("OutOfBounds", "cp.async of %u bytes is told to read %u", bytes, given);
  must_align(to, bytes, "the destination of cp.async");
  must_align(from, bytes, "the source of cp.async");
  if (given) read(from, given);
  mark_pending(to, bytes);
  current->copies.push_back({to, static_cast<const char*>(from), bytes, given});
}

void commit_copies() { current->groups.push_back(current->copies.size()); }

static void finish(size_t count) {
  auto& copies = current->copies;
  for (size_t i = 0; i < count; ++i) {
    memset(copies[i].to, 0, copies[i].bytes);
    memcpy(copies[i].to, copies[i].from, copies[i].given);
    end_pending(copies[i].to, copies[i].bytes);
  }
  copies.erase(copies.begin(), copies.begin() + count);
}

void wait_copies(unsigned left) {
  auto& groups = current->groups;
  if (groups.size() <= left) return;
  size_t whole = groups.size() - left, count = groups[whole - 1];
  finish(count);
  groups.erase(groups.begin(), groups.begin() + whole);
  for (size_t& end : groups) end -= count;
}

void wait_all_copies() {
  finish(current->copies.size());
  current->groups.clear();
}

}  // namespace emu
