// half and bfloat16 as one template, with the operators and functions that CUDA has for both.
// Each operation is done in float and rounded once more; for + - * / and sqrt that equals rounding once.
#pragma once
#include "half_bits.h"

namespace emu {

struct Half {
  static float wide(uint16_t bits) { return half_to_float(bits); }
  static uint16_t round(float x) { return float_to_half(x); }
};
struct Bfloat {
  static float wide(uint16_t bits) { return bfloat_to_float(bits); }
  static uint16_t round(float x) { return float_to_bfloat(x); }
};

template <class Format>
struct Narrow {
  unsigned short __x;
  Narrow() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  Narrow(T from) : __x(Format::round(static_cast<float>(from))) {}
  operator float() const { return Format::wide(__x); }
  static Narrow of_bits(uint16_t bits) {
    Narrow result;
    result.__x = bits;
    return result;
  }
  Narrow& operator+=(Narrow y) { return *this = *this + y; }
  Narrow& operator-=(Narrow y) { return *this = *this - y; }
  Narrow& operator*=(Narrow y) { return *this = *this * y; }
  Narrow& operator/=(Narrow y) { return *this = *this / y; }
  friend Narrow operator+(Narrow x, Narrow y) { return float(x) + float(y); }
  friend Narrow operator-(Narrow x, Narrow y) { return float(x) - float(y); }
  friend Narrow operator*(Narrow x, Narrow y) { return float(x) * float(y); }
  friend Narrow operator/(Narrow x, Narrow y) { return float(x) / float(y); }
  friend Narrow operator-(Narrow x) { return of_bits(x.__x ^ 0x8000); }
  friend bool operator<(Narrow x, Narrow y) { return float(x) < float(y); }
  friend bool operator>(Narrow x, Narrow y) { return float(x) > float(y); }
  friend bool operator<=(Narrow x, Narrow y) { return float(x) <= float(y); }
  friend bool operator>=(Narrow x, Narrow y) { return float(x) >= float(y); }
  friend bool operator==(Narrow x, Narrow y) { return float(x) == float(y); }
  friend bool operator!=(Narrow x, Narrow y) { return float(x) != float(y); }
};

template <class Format>
struct alignas(4) Narrow2 {
  Narrow<Format> x, y;
  Narrow2() = default;
  Narrow2(Narrow<Format> x, Narrow<Format> y) : x(x), y(y) {}
  friend Narrow2 operator+(Narrow2 a, Narrow2 b) { return {a.x + b.x, a.y + b.y}; }
  friend Narrow2 operator-(Narrow2 a, Narrow2 b) { return {a.x - b.x, a.y - b.y}; }
  friend Narrow2 operator*(Narrow2 a, Narrow2 b) { return {a.x * b.x, a.y * b.y}; }
  friend Narrow2 operator/(Narrow2 a, Narrow2 b) { return {a.x / b.x, a.y / b.y}; }
};

}  // namespace emu

#define EMU_N template <class F> inline
#define EMU_1 emu::Narrow<F>
#define EMU_2 emu::Narrow2<F>
EMU_N EMU_1 __hadd(EMU_1 x, EMU_1 y) { return x + y; }
EMU_N EMU_1 __hsub(EMU_1 x, EMU_1 y) { return x - y; }
EMU_N EMU_1 __hmul(EMU_1 x, EMU_1 y) { return x * y; }
EMU_N EMU_1 __hdiv(EMU_1 x, EMU_1 y) { return x / y; }
EMU_N EMU_1 __hneg(EMU_1 x) { return -x; }
EMU_N EMU_1 __habs(EMU_1 x) { return EMU_1::of_bits(x.__x & 0x7fff); }
EMU_N EMU_1 __hfma(EMU_1 x, EMU_1 y, EMU_1 z) { return (float)((double)(float)x * (float)y + (float)z); }
EMU_N bool __hgt(EMU_1 x, EMU_1 y) { return x > y; }
EMU_N bool __hlt(EMU_1 x, EMU_1 y) { return x < y; }
EMU_N bool __hge(EMU_1 x, EMU_1 y) { return x >= y; }
EMU_N bool __hle(EMU_1 x, EMU_1 y) { return x <= y; }
EMU_N bool __heq(EMU_1 x, EMU_1 y) { return x == y; }
EMU_N bool __hne(EMU_1 x, EMU_1 y) { return x != y; }
EMU_N bool __hisnan(EMU_1 x) { return x != x; }
EMU_N EMU_1 __hmax(EMU_1 x, EMU_1 y) { return fmaxf(x, y); }
EMU_N EMU_1 __hmin(EMU_1 x, EMU_1 y) { return fminf(x, y); }
EMU_N EMU_2 __hadd2(EMU_2 x, EMU_2 y) { return x + y; }
EMU_N EMU_2 __hsub2(EMU_2 x, EMU_2 y) { return x - y; }
EMU_N EMU_2 __hmul2(EMU_2 x, EMU_2 y) { return x * y; }
EMU_N EMU_2 __hfma2(EMU_2 x, EMU_2 y, EMU_2 z) { return {__hfma(x.x, y.x, z.x), __hfma(x.y, y.y, z.y)}; }
EMU_N EMU_2 __hmax2(EMU_2 x, EMU_2 y) { return {__hmax(x.x, y.x), __hmax(x.y, y.y)}; }
EMU_N EMU_2 __hmin2(EMU_2 x, EMU_2 y) { return {__hmin(x.x, y.x), __hmin(x.y, y.y)}; }
#define EMU_UNARY(name, function) \
  EMU_N EMU_1 name(EMU_1 x) { return function((float)x); }
EMU_UNARY(hexp, expf)
EMU_UNARY(hexp2, exp2f)
EMU_UNARY(hexp10, emu_exp10)
EMU_UNARY(hlog, logf)
EMU_UNARY(hlog2, log2f)
EMU_UNARY(hlog10, log10f)
EMU_UNARY(hsqrt, sqrtf)
EMU_UNARY(hrsqrt, rsqrtf)
EMU_UNARY(hrcp, __frcp_rn)
EMU_UNARY(hsin, sinf)
EMU_UNARY(hcos, cosf)
EMU_UNARY(hfloor, floorf)
EMU_UNARY(hceil, ceilf)
EMU_UNARY(htrunc, truncf)
EMU_UNARY(hrint, rintf)
EMU_UNARY(htanh, tanhf)
#undef EMU_UNARY
#undef EMU_N
#undef EMU_1
#undef EMU_2
