// CUDA's bfloat16.
#pragma once
#include "narrow_float.h"

using __nv_bfloat16 = emu::Narrow<emu::Bfloat>;
using __nv_bfloat162 = emu::Narrow2<emu::Bfloat>;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline float __bfloat162float(nv_bfloat16 x) { return x; }
inline nv_bfloat16 __float2bfloat16(float x) { return x; }
inline nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline nv_bfloat16 __double2bfloat16(double x) { return x; }
inline unsigned short __bfloat16_as_ushort(nv_bfloat16 x) { return x.__x; }
inline nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return nv_bfloat16::of_bits(bits); }
inline nv_bfloat162 __halves2bfloat162(nv_bfloat16 x, nv_bfloat16 y) { return {x, y}; }
inline nv_bfloat162 __bfloat162bfloat162(nv_bfloat16 x) { return {x, x}; }
inline nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline nv_bfloat162 __float22bfloat162_rn(float2 x) { return {x.x, x.y}; }
inline float2 __bfloat1622float2(nv_bfloat162 x) { return {x.x, x.y}; }
inline nv_bfloat16 __low2bfloat16(nv_bfloat162 x) { return x.x; }
inline nv_bfloat16 __high2bfloat16(nv_bfloat162 x) { return x.y; }
inline float __low2float(nv_bfloat162 x) { return x.x; }
inline float __high2float(nv_bfloat162 x) { return x.y; }
