// CUDA's language and its own functions, for g++. Included before each kernel.
#pragma once
#include <math.h>
#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "runtime.h"

#define __CUDA_ARCH__ 900
#define __CUDACC__ 1
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __global__
#define __device__
#define __host__
#define __constant__ const
// Not inlined: kernels of a thousand calls compile ten times sooner.
#define __forceinline__ inline __attribute__((noinline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) alignas(n)
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (emu::thread_index())
#define blockIdx (emu::block_index())
#define blockDim (emu::block_size())
#define gridDim (emu::grid_size())
constexpr int warpSize = 32;

namespace emu {
// A pointer that is used as one to vectors: the GPU wants its address to be a multiple of the vector's size.
template <class To, class From>
To* vector_pointer(From* from) {
  aligned((const void*)from, alignof(To), "an access to a vector");
  return (To*)from;
}
template <class To>
To* vector_pointer(uint64_t from) {
  return vector_pointer<To>(reinterpret_cast<char*>(from));
}
}  // namespace emu

#include "cuda_math.h"
#include "cuda_vectors.h"
#include "entry.h"
#include "ptx.h"

#include "cuda_threads.h"
