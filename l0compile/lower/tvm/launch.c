/* Several kernels in one parallel region. Tables that name the kernels follow; see launch_source.py.

   The types are those of TVM 0.27's C interface, of which the names are in the comments. */

#include <stddef.h>
#include <stdint.h>

typedef struct { /* TVMFFIAny */
  int32_t type;
  uint32_t padding;
  union {
    int64_t integer;
    const char *pointer;
  } value;
} Any;

typedef struct { /* DLTensor */
  void *data;
  int32_t device_type, device;
  int32_t dimensions;
  uint8_t code, bits;
  uint16_t lanes;
  const int64_t *shape, *strides;
  uint64_t offset;
} Tensor;

typedef struct { /* TVMParallelGroupEnv */
  void *sync;
  int32_t tasks;
} Group;

enum { INTEGER = 1, TENSOR_POINTER = 7, TENSOR = 70, OBJECT_HEADER = 24 }; /* kTVMFFIInt, and so on */

typedef int Function(void *self, const Any *arguments, int32_t count, Any *result);
typedef int Task(int task, Group *group, void *job);

typedef struct {
  Function *kernel;
  const int32_t *places; /* of its arguments among those of the launch */
  int32_t count;         /* of its arguments */
  int32_t waits;         /* for the kernels before it */
} Step;

typedef struct {
  const Step *steps;
  int32_t count, arguments;
  int64_t small;         /* up to how many bytes of all its kernels' arguments one thread is faster */
  const char *complaint; /* about another number of arguments */
} Launch;

typedef struct {
  const Launch *launch;
  const Any *arguments;
  int failed;
} Job;

/* Filled in by TVM when it loads the library. */
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(Task *, void *, int);
__attribute__((weak)) int (*__TVMBackendParallelBarrier)(int, Group *);
__attribute__((weak)) void (*__TVMFFIErrorSetRaisedFromCStr)(const char *, const char *);

/* One thread's share of all kernels. A thread whose kernel failed still comes to every barrier, where others wait. */
static int share(int task, Group *group, void *data) {
  Job *job = data;
  int failed = 0;
  Any given[MOST_ARGUMENTS + 2], number = {INTEGER, 0, {task}}, shares = {INTEGER, 0, {group->tasks}};
  for (int32_t i = 0; i < job->launch->count; i++) {
    const Step *step = &job->launch->steps[i];
    if (step->waits && group->tasks > 1) {
      int broken = __TVMBackendParallelBarrier(task, group);
      failed = failed ? failed : broken;
    }
    if (failed) continue;
    for (int j = 0; j < step->count; j++) given[j] = job->arguments[step->places[j]];
    given[step->count] = number;
    given[step->count + 1] = shares;
    Any result = {0, 0, {0}};
    failed = step->kernel(NULL, given, step->count + 2, &result);
  }
  if (failed) __atomic_store_n(&job->failed, failed, __ATOMIC_RELAXED);
  return failed;
}

/* Bytes of a tensor; negative for what is neither a tensor nor a size. */
static int64_t size(const Any *argument) {
  if (argument->type == INTEGER) return 0;
  if (argument->type != TENSOR && argument->type != TENSOR_POINTER) return -1;
  const Tensor *tensor =
      (const Tensor *)(argument->value.pointer + (argument->type == TENSOR ? OBJECT_HEADER : 0));
  int64_t bytes = (tensor->bits * tensor->lanes + 7) / 8;
  for (int32_t i = 0; i < tensor->dimensions; i++) bytes *= tensor->shape[i];
  return bytes;
}

/* Whether the kernels touch so little memory that other threads take longer to wake and to wait for than they save. */
static int is_small(const Launch *launch, const Any *arguments) {
  int64_t all = 0;
  for (int32_t i = 0; i < launch->count; i++)
    for (int j = 0; j < launch->steps[i].count; j++) {
      int64_t bytes = size(&arguments[launch->steps[i].places[j]]);
      all += bytes;
      if (bytes < 0 || all > launch->small) return 0;
    }
  return 1;
}

static int run(const Launch *launch, const Any *arguments, int32_t count, Any *result) {
  if (count != launch->arguments) {
    __TVMFFIErrorSetRaisedFromCStr("TypeError", launch->complaint);
    return -1;
  }
  result->type = 0;
  Job job = {launch, arguments, 0};
  if (is_small(launch, arguments)) {
    Group alone = {NULL, 1};
    return share(0, &alone, &job);
  }
  /* TVM drops what a task returns where it has one thread, but not the error that the kernel has set. */
  int failed = __TVMBackendParallelLaunch(share, &job, 0);
  return failed ? failed : job.failed;
}
