// How the runtime calls the kernels of a source: a table that the translated source ends with.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace emu {

struct Argument {
  int64_t kind;  // 0: a buffer, 1: an integer, 2: a floating-point number
  int64_t integer;
  double real;
  void* pointer;
};

struct Entry {
  const char* name;
  size_t count;          // of parameters
  size_t threads;        // of a block, at most
  const bool* pointers;  // which parameters are pointers
  void (*call)(const Argument*);
};

// The arguments lie in the runtime's memory, which is no buffer of the kernel's.
template <class T>
__attribute__((no_sanitize("thread"), noinline)) T convert(const Argument& from) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<T>(from.pointer);
  else
    return from.kind == 2 ? static_cast<T>(from.real) : static_cast<T>(from.integer);
}

template <auto kernel>
struct Caller;
template <class... A, void (*kernel)(A...)>
struct Caller<kernel> {
  static constexpr bool pointers[sizeof...(A) + 1] = {std::is_pointer_v<A>..., false};
  template <size_t... i>
  __attribute__((no_sanitize("thread"))) static void spread(const Argument* from, std::index_sequence<i...>) {
    kernel(convert<A>(from[i])...);
  }
  __attribute__((no_sanitize("thread"))) static void call(const Argument* from) { spread(from, std::index_sequence_for<A...>{}); }
  static constexpr Entry entry(const char* name, size_t threads) {
    return {name, sizeof...(A), threads, pointers, call};
  }
};

}  // namespace emu

extern const emu::Entry emu_entries[];
