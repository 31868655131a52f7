// Barriers, votes, shuffles, atomic operations, and loads that name a cache.
#pragma once

#define __syncthreads() emu::barrier(__LINE__)
#define emu_first(first, ...) first
#define __syncwarp(...) emu::warp_barrier(__LINE__, emu_first(__VA_ARGS__ __VA_OPT__(,) 0xffffffffu))
inline unsigned __activemask() { return emu::live_lanes(); }
inline void __threadfence() { emu::fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { emu::fence(); }
inline void __nanosleep(unsigned) {}
[[noreturn]] inline void __trap() { emu::fault("Crash", "the kernel trapped"); }

namespace emu {

struct Shuffle {
  uint64_t own, got;
  unsigned from;
};

template <class T>
T shuffle(const char* what, int line, uint32_t mask, T value, unsigned from) {
  static_assert(sizeof(T) <= 8);
  Shuffle one{0, ~0ull, from};  // from a lane that does not take part: bits that are no number
  memcpy(&one.own, &value, sizeof value);
  // Unchecked: it reads and writes what lies on the stacks of other lanes.
  collect(what, line, mask, &one, [](void** deposits, uint32_t came) __attribute__((no_sanitize("thread"))) {
    for (unsigned i = 0; i < 32; ++i)
      if (came >> i & 1) {
        auto* to = static_cast<Shuffle*>(deposits[i]);
        if (came >> to->from & 1) to->got = static_cast<Shuffle*>(deposits[to->from])->own;
      }
  }, false);
  memcpy(&value, &one.got, sizeof value);
  return value;
}

inline unsigned in_segment(int to, unsigned width, bool inside) {
  (void)width;
  return inside ? static_cast<unsigned>(to) : lane();
}

template <class T>
T shuffle_index(int line, uint32_t mask, T value, int from, int width) {
  return shuffle("__shfl_sync", line, mask, value, (lane() & ~(width - 1)) | (from & (width - 1)));
}
template <class T>
T shuffle_up(int line, uint32_t mask, T value, unsigned by, int width) {
  int to = int(lane()) - int(by);
  return shuffle("__shfl_up_sync", line, mask, value, in_segment(to, width, to >= int(lane() & ~(width - 1))));
}
template <class T>
T shuffle_down(int line, uint32_t mask, T value, unsigned by, int width) {
  int to = int(lane()) + int(by);
  return shuffle("__shfl_down_sync", line, mask, value, in_segment(to, width, to <= int(lane() | (width - 1))));
}
template <class T>
T shuffle_xor(int line, uint32_t mask, T value, int by, int width) {
  int to = int(lane()) ^ by;
  return shuffle("__shfl_xor_sync", line, mask, value, in_segment(to, width, to <= int(lane() | (width - 1))));
}

struct Vote {
  uint32_t own, all;
};

inline uint32_t vote(const char* what, int line, uint32_t mask, bool yes) {
  Vote one{yes, 0};
  // Unchecked: it reads and writes what lies on the stacks of other lanes.
  collect(what, line, mask, &one, [](void** deposits, uint32_t came) __attribute__((no_sanitize("thread"))) {
    uint32_t all = 0;
    for (unsigned i = 0; i < 32; ++i)
      if (came >> i & 1) all |= static_cast<Vote*>(deposits[i])->own << i;
    for (unsigned i = 0; i < 32; ++i)
      if (came >> i & 1) static_cast<Vote*>(deposits[i])->all = all;
  }, false);
  return one.all;
}

// Unchecked as an access of its own: `atomic` checks it.
template <class T, class F>
__attribute__((no_sanitize("thread"), noinline)) T update(T* at, F change) {
  atomic(at, sizeof(T), !std::is_integral_v<T>);
  T before;
  memcpy((void*)&before, (const void*)at, sizeof(T));
  T after = change(before);
  memcpy((void*)at, (const void*)&after, sizeof(T));
  return before;
}

}  // namespace emu

#define emu_width(width, ...) width
#define __shfl_sync(mask, value, from, ...) emu::shuffle_index(__LINE__, mask, value, from, emu_width(__VA_ARGS__ __VA_OPT__(,) 32))
#define __shfl_up_sync(mask, value, by, ...) emu::shuffle_up(__LINE__, mask, value, by, emu_width(__VA_ARGS__ __VA_OPT__(,) 32))
#define __shfl_down_sync(mask, value, by, ...) emu::shuffle_down(__LINE__, mask, value, by, emu_width(__VA_ARGS__ __VA_OPT__(,) 32))
#define __shfl_xor_sync(mask, value, by, ...) emu::shuffle_xor(__LINE__, mask, value, by, emu_width(__VA_ARGS__ __VA_OPT__(,) 32))
#define __ballot_sync(mask, yes) emu::vote("__ballot_sync", __LINE__, mask, yes)
#define __any_sync(mask, yes) int(emu::vote("__any_sync", __LINE__, mask, yes) != 0)
#define __all_sync(mask, yes) int(emu::vote("__all_sync", __LINE__, mask, !(yes)) == 0)

template <class T> T __ldg(const T* at) { return *at; }
template <class T> T __ldcg(const T* at) { return *at; }
template <class T> T __ldca(const T* at) { return *at; }
template <class T> T __ldcs(const T* at) { return *at; }
template <class T> void __stcs(T* at, T value) { *at = value; }
template <class T> void __stcg(T* at, T value) { *at = value; }

template <class T> T atomicAdd(T* at, std::type_identity_t<T> by) { return emu::update(at, [&](T x) { return T(x + by); }); }
template <class T> T atomicSub(T* at, std::type_identity_t<T> by) { return emu::update(at, [&](T x) { return T(x - by); }); }
template <class T> T atomicMax(T* at, std::type_identity_t<T> by) { return emu::update(at, [&](T x) { return x > by ? x : by; }); }
template <class T> T atomicMin(T* at, std::type_identity_t<T> by) { return emu::update(at, [&](T x) { return x < by ? x : by; }); }
template <class T> T atomicAnd(T* at, std::type_identity_t<T> by) { return emu::update(at, [&](T x) { return T(x & by); }); }
template <class T> T atomicOr(T* at, std::type_identity_t<T> by) { return emu::update(at, [&](T x) { return T(x | by); }); }
template <class T> T atomicExch(T* at, std::type_identity_t<T> by) { return emu::update(at, [&](T) { return by; }); }
template <class T> T atomicCAS(T* at, std::type_identity_t<T> old, std::type_identity_t<T> by) {
  return emu::update(at, [&](T x) { return x == old ? by : x; });
}
inline unsigned atomicInc(unsigned* at, unsigned most) { return emu::update(at, [&](unsigned x) { return x >= most ? 0 : x + 1; }); }

inline size_t __cvta_generic_to_shared(const void* at) { return emu::shared_address(at); }
inline void* __cvta_shared_to_generic(size_t at) { return emu::shared_pointer(at); }
inline int __dp4a(int a, int b, int c) { return int(emu::dp4a(true, true, unsigned(a), unsigned(b), unsigned(c))); }
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) { return unsigned(emu::dp4a(false, false, a, b, c)); }
