// Bits of half and bfloat16, to and from float; to nearest, ties to even, as the GPU rounds.
#pragma once
#include <cstdint>
#include <cstring>

namespace emu {

inline uint32_t float_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
inline float bits_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

inline float half_to_float(uint16_t h) {
  uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
  if (exponent == 31) return bits_float(sign | 0x7f800000u | fraction << 13);
  if (exponent) return bits_float(sign | (exponent + 112) << 23 | fraction << 13);
  float small = fraction * (1.0f / 16777216.0f);  // a multiple of 2^-24
  return sign ? -small : small;
}

inline uint16_t float_to_half(float x) {
  uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7fff;                    // NaN, as the GPU writes it
  if (size >= 0x477ff000u) return sign | 0x7c00;            // 65520 and more
  if (size < 0x38800000u) {                                 // below 2^-14: a multiple of 2^-24
    float scaled = bits_float(size) * 16777216.0f + 8388608.0f;  // the addition rounds to an integer
    return sign | (float_bits(scaled) & 0x7fffffu);
  }
  uint32_t rounded = size + 0xfffu + (size >> 13 & 1);
  return sign | ((rounded >> 13) - (112u << 10));
}

inline float bfloat_to_float(uint16_t b) { return bits_float(uint32_t(b) << 16); }

inline uint16_t float_to_bfloat(float x) {
  uint32_t bits = float_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

}  // namespace emu
