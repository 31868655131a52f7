// PTX instructions that the translated inline assembly calls. A register is its bits in 64, whatever its type.
#pragma once
#include <cstring>
#include <initializer_list>

#include "runtime.h"

namespace emu {

using Bits = uint64_t;
using In = std::initializer_list<Bits>;
using Out = std::initializer_list<Bits*>;
constexpr Bits UNSET = ~Bits(0);

template <class T>
Bits get(T x) {
  static_assert(sizeof(T) <= 8, "an operand of inline assembly is wider than a register");
  Bits bits = 0;
  memcpy(&bits, &x, sizeof x);
  return bits;
}
template <class T>
void put(T& x, Bits bits) {
  static_assert(sizeof(T) <= 8, "an operand of inline assembly is wider than a register");
  memcpy(&x, &bits, sizeof x);
}

// The place of a register, for instructions that read and write it later.
template <class T>
Bits place(T& x) {
  static_assert(sizeof(T) == 4, "an accumulator of wgmma is no register of 32 bits");
  return reinterpret_cast<uintptr_t>(&x);
}

enum class Type { f16, bf16, tf32, s8, u8, f32, s32 };

// mma.sync m{16,8}n8k{k}: d = a b + c.
void mma(int line, int m, int k, Type d, Type a, Type b, Out to, In of_a, In of_b, In of_c);
// mma.sp::ordered_metadata.sync m16n8k32: of each four neighbours in a row of a two are there, `places` tells which.
void mma_sp(int line, Type type, Out to, In of_a, In of_b, In of_c, Bits places, Bits selector);
void ldmatrix(int line, bool transposed, Out to, Bits address);
void stmatrix(int line, bool transposed, Bits address, In of);

// wgmma.mma_async m64n{n}: both matrices by descriptors, sums of float in n / 2 registers at `places`.
struct Wgmma {
  int line, n;
  Type type;
  Bits a, b, accumulate, a_sign, b_sign, a_transposed, b_transposed;
};
void begin_product(const Wgmma& what, In places);
void fence_registers(int line);
void commit_products(int line);
void wait_products(int line, unsigned left);

// Loads and stores of 1 to 4 registers; `shared`: the address is one of shared memory; `cached`: by ld.global.nc.
void load(bool shared, bool cached, unsigned bytes, Out to, Bits address);
void store(bool shared, unsigned bytes, Bits address, In of);

Bits unary(const char* name, Bits x);  // ex2, lg2, rcp, rsqrt, sqrt, tanh of float
Bits flushed(Bits x);  // .ftz: zero for a float below 2^-126
Bits round_tf32(Bits x);
Bits narrow(Type type, Bits x);  // float to 16 bits, and back
Bits widen(Type type, Bits x);
Bits pack(Type type, Bits high, Bits low);
Bits dp4a(bool a_signed, bool b_signed, Bits a, Bits b, Bits c);

}  // namespace emu
