/* The host code of one program for an NVIDIA GPU. The program itself follows; see host_code.py.

   It calls the driver through one function pointer, so it is linked against nothing: what can be called with the
   parameters of cuLaunchKernel, be it the driver or an emulation of a GPU, runs it. It allocates nothing, waits for
   nothing, and launches on the stream that it is given, so a CUDA graph can capture it. */

#include <stdint.h>

typedef int Launch(void *kernel, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z, unsigned threads_x,
                   unsigned threads_y, unsigned threads_z, unsigned shared, void *stream, void **arguments,
                   void **extra); /* cuLaunchKernel */

typedef struct {
  Launch *launch;
  void **kernels; /* in the order of the facts */
  void *stream;
  int32_t failed; /* the kernel that was not launched, after an error */
} Host;

enum { TOO_MANY_BLOCKS = -1, ALIGNMENT = 256 /* bytes, as of the driver's own memory */ };

static inline int64_t l0_floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
static inline int64_t l0_floor_mod(int64_t a, int64_t b) { return a - l0_floor_div(a, b) * b; }
static inline int64_t l0_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t l0_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t l0_aligned(int64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int l0_launch(Host *host, int32_t kernel, const int64_t *extents, int64_t shared, void **arguments) {
  /* The first axis takes 2^31 - 1 blocks, the others 65,535. */
  int64_t most[3] = {2147483647, 65535, 65535};
  for (int axis = 0; axis < 3; axis++) {
    if (extents[axis] <= 0) return 0; /* nothing to compute */
    if (extents[axis] > most[axis]) {
      host->failed = kernel;
      return TOO_MANY_BLOCKS;
    }
  }
  int error = host->launch(host->kernels[kernel], extents[0], extents[1], extents[2], extents[3], extents[4],
                           extents[5], shared, host->stream, arguments, 0);
  if (error) host->failed = kernel;
  return error;
}
