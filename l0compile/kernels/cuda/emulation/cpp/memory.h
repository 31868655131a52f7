// What the files about memory share.
#pragma once
#include <sys/mman.h>

#include "runtime_state.h"

namespace emu {

template <class T>
T* zeros(size_t count) {
  void* at = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) fault("Crash", "no memory for %zu bytes", count * sizeof(T));
  return static_cast<T*>(at);
}

inline bool same_warp(unsigned other) { return other / WARP == current->number / WARP; }

}  // namespace emu
