// Products whose left matrix has two numbers of each four (mma.sp), by the PTX ISA, "Matrix fragments for
// multiply-accumulate operation with sparse matrix A".
#include <algorithm>

#include "half_bits.h"
#include "ptx.h"
#include "runtime_state.h"

namespace emu {

namespace {

constexpr unsigned K = 32, GROUP = 4;

struct SparseProduct {  // one lane's part
  const int line;
  const Type type;
  const unsigned selector;
  uint32_t a[4], b[4], c[4], places, result[4];
};

float number(Type type, uint32_t bits, unsigned i) {
  return type == Type::f16 ? half_to_float(bits >> 16 * i) : bfloat_to_float(bits >> 16 * i);
}

// Two places in a group of four, of a row and the number of the group. Of the four lanes that hold a row, the first two
// tell of it where the selector is 0, the other two where it is 1; each of 16 columns of row g and of row g + 8.
unsigned places_of(SparseProduct** lanes, unsigned row, unsigned group) {
  const SparseProduct& one = *lanes[0];
  unsigned lane = row % 8 * 4 + 2 * one.selector + group / 4;
  unsigned code = lanes[lane]->places >> (16 * (row / 8) + 4 * (group % 4)) & 15, first = code & 3, second = code >> 2;
  if (first >= second)
    fault("UndefinedOperand", "mma.sp at line %d: lane %u has places %u and %u of a group of four, they have to ascend",
          one.line, lane, first, second);
  return code;
}

void multiply(void** deposits, uint32_t) {
  auto lanes = reinterpret_cast<SparseProduct**>(deposits);
  const Type type = lanes[0]->type;
  static float a[16][K], b[K][8];
  std::fill(&a[0][0], &a[0][0] + 16 * K, 0.f);
  for (unsigned lane = 0; lane < WARP; ++lane) {
    unsigned group = lane / 4, thread = lane % 4;
    for (unsigned i = 0; i < 4; ++i) {
      // Of the left matrix a register has both numbers of one group of four.
      unsigned row = group + 8 * (i % 2), four = thread + 4 * (i / 2), code = places_of(lanes, row, four);
      a[row][four * GROUP + (code & 3)] = number(type, lanes[lane]->a[i], 0);
      a[row][four * GROUP + (code >> 2)] = number(type, lanes[lane]->a[i], 1);
      for (unsigned j = 0; j < 2; ++j) b[thread * 2 + 8 * i + j][group] = number(type, lanes[lane]->b[i], j);
    }
  }
  for (unsigned lane = 0; lane < WARP; ++lane)
    for (unsigned i = 0; i < 4; ++i) {
      float sum = bits_float(lanes[lane]->c[i]);
      for (unsigned k = 0; k < K; ++k) sum += a[lane / 4 + 8 * (i / 2)][k] * b[k][lane % 4 * 2 + i % 2];
      lanes[lane]->result[i] = float_bits(sum);
    }
}

}  // namespace

void mma_sp(int line, Type type, Out to, In of_a, In of_b, In of_c, Bits places, Bits selector) {
  SparseProduct own{line, type, unsigned(selector), {}, {}, {}, uint32_t(places), {}};
  std::copy(of_a.begin(), of_a.end(), own.a);
  std::copy(of_b.begin(), of_b.end(), own.b);
  std::copy(of_c.begin(), of_c.end(), own.c);
  collect("mma.sp.sync", line, ~0u, &own, multiply, true);
  unsigned i = 0;
  for (Bits* one : to) *one = own.result[i++];
}

}  // namespace emu
