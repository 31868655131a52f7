// CUDA's mathematical functions beyond those of <cmath>.
#pragma once

#define EMU_LEAST_MOST(type)                                  \
  inline type min(type a, type b) { return a < b ? a : b; }   \
  inline type max(type a, type b) { return a > b ? a : b; }
EMU_LEAST_MOST(int)
EMU_LEAST_MOST(unsigned)
EMU_LEAST_MOST(long)
EMU_LEAST_MOST(unsigned long)
EMU_LEAST_MOST(long long)
EMU_LEAST_MOST(unsigned long long)
#undef EMU_LEAST_MOST
inline long long min(long a, long long b) { return a < b ? a : b; }
inline long long max(long a, long long b) { return a > b ? a : b; }
inline long min(int a, long b) { return a < b ? a : b; }
inline long max(int a, long b) { return a > b ? a : b; }
inline long min(long a, int b) { return a < b ? a : b; }
inline long max(long a, int b) { return a > b ? a : b; }
// A NaN gives way to a number, as fmaxf says and the GPU does.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float __frsqrt_rn(float x) { return 1 / sqrtf(x); }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float emu_exp(float x) { return expf(x); }
inline float emu_log(float x) { return logf(x); }
inline float emu_log2(float x) { return log2f(x); }
inline float emu_log10(float x) { return log10f(x); }
inline float emu_pow(float x, float y) { return powf(x, y); }
inline float emu_exp10(float x) { return powf(10.0f, x); }
inline float emu_sin(float x) { return sinf(x); }
inline float emu_cos(float x) { return cosf(x); }
inline float emu_tan(float x) { return tanf(x); }
// glibc declares some of these names for itself.
#define __expf emu_exp
#define __logf emu_log
#define __log2f emu_log2
#define __log10f emu_log10
#define __powf emu_pow
#define __exp10f emu_exp10
#define __sinf emu_sin
#define __cosf emu_cos
#define __tanf emu_tan
inline float __tanhf(float x) { return tanhf(x); }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= (x >> i & 1) << (31 - i);
  return result;
}
inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
// A conversion that overflows saturates on the GPU; NaN becomes 0.
inline int emu_to_int(float x) { return x != x ? 0 : x >= 2147483648.0f ? 2147483647 : x < -2147483648.0f ? -2147483647 - 1 : (int)x; }
inline int __float2int_rn(float x) { return emu_to_int(rintf(x)); }
inline int __float2int_rz(float x) { return emu_to_int(truncf(x)); }
inline int __float2int_rd(float x) { return emu_to_int(floorf(x)); }
inline int __float2int_ru(float x) { return emu_to_int(ceilf(x)); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  unsigned long long both = (unsigned long long)y << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    unsigned one = selector >> 4 * i & 15, byte = both >> 8 * (one & 7) & 255;
    if (one & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << 8 * i;
  }
  return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return (((unsigned long long)high << 32) | low) >> (by & 31);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
  return (((unsigned long long)high << 32) | low) << (by & 31) >> 32;
}
