// CUDA's half.
#pragma once
#include "narrow_float.h"

using __half = emu::Narrow<emu::Half>;
using __half2 = emu::Narrow2<emu::Half>;
using half = __half;
using half2 = __half2;

inline float __half2float(half x) { return x; }
inline half __float2half(float x) { return x; }
inline half __float2half_rn(float x) { return x; }
inline half __double2half(double x) { return x; }
inline half __int2half_rn(int x) { return x; }
inline int __half2int_rn(half x) { return __float2int_rn(x); }
inline unsigned short __half_as_ushort(half x) { return x.__x; }
inline half __ushort_as_half(unsigned short bits) { return half::of_bits(bits); }
inline half2 make_half2(half x, half y) { return {x, y}; }
inline half2 __halves2half2(half x, half y) { return {x, y}; }
inline half2 __half2half2(half x) { return {x, x}; }
inline half2 __float2half2_rn(float x) { return {x, x}; }
inline half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline half2 __float22half2_rn(float2 x) { return {x.x, x.y}; }
inline float2 __half22float2(half2 x) { return {x.x, x.y}; }
inline half __low2half(half2 x) { return x.x; }
inline half __high2half(half2 x) { return x.y; }
inline float __low2float(half2 x) { return x.x; }
inline float __high2float(half2 x) { return x.y; }
