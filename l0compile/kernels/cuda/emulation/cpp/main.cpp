// Runs launches: main FILE ORDER SEED. The file holds buffers and launches; buffers are written back to it at the end.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "entry.h"
#include "fibers.h"

using emu::Argument;

static std::vector<char> contents;
static size_t position = 0;
static const emu::Entry* entry;
static std::vector<Argument> arguments;

static int64_t number() {
  int64_t value;
  memcpy(&value, &contents[position], 8);
  position += 8;
  return value;
}

static const char* text() {  // 512 bytes, ended by zeros
  const char* at = &contents[position];
  position += 512;
  return at;
}

static emu::Index three() {
  auto x = static_cast<unsigned>(number()), y = static_cast<unsigned>(number()), z = static_cast<unsigned>(number());
  return {x, y, z};
}

static void call() { entry->call(arguments.data()); }

static void find_entry(const emu::Launch& launch) {
  for (entry = emu_entries; entry->name && strcmp(entry->name, launch.name); ++entry) {
  }
  if (!entry->name) emu::fault("LaunchFault", "the source has no such kernel");
}

static void read_arguments() {
  int64_t count = number();
  arguments.clear();
  for (int64_t i = 0; i < count; ++i) {
    Argument argument{number(), number(), 0, nullptr};
    memcpy(&argument.real, &argument.integer, 8);
    if (argument.kind == 0) argument.pointer = emu::globals[argument.integer].data;
    arguments.push_back(argument);
  }
  if (arguments.size() != entry->count)
    emu::fault("LaunchFault", "expected %zu arguments, got %zu", entry->count, arguments.size());
  for (size_t i = 0; i < arguments.size(); ++i)
    if (entry->pointers[i] != (arguments[i].kind == 0))
      emu::fault("LaunchFault", "argument %zu: expected %s", i, entry->pointers[i] ? "an array" : "a number");
}

static void check_sizes(const emu::Launch& launch) {
  const emu::Index &block = launch.block, &grid = launch.grid;
  size_t threads = size_t(block.x) * block.y * block.z;
  if (!threads || threads > emu::MOST_THREADS || block.z > 64)
    emu::fault("LaunchFault", "a block of (%u, %u, %u) threads; at least 1, at most 1024 and 64 in z", block.x, block.y, block.z);
  if (threads > entry->threads)
    emu::fault("LaunchFault", "a block of %zu threads; __launch_bounds__ allows %zu", threads, entry->threads);
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    emu::fault("LaunchFault", "a grid of (%u, %u, %u) blocks; at least 1, at most 65535 in y and z", grid.x, grid.y, grid.z);
}

int main(int count, char** options) {
  if (count != 4) return 2;
  FILE* file = fopen(options[1], "r+b");
  if (!file) return 2;
  fseek(file, 0, SEEK_END);
  contents.resize(ftell(file));
  rewind(file);
  if (fread(contents.data(), 1, contents.size(), file) != contents.size()) return 2;
  auto order = static_cast<emu::Order>(atoi(options[2]));
  auto seed = static_cast<unsigned>(atoi(options[3]));
  emu::prepare_arena();
  emu::at_crash();
  int64_t buffers = number(), launches = number(), start = number();
  size_t data = start;
  for (int64_t i = 0; i < buffers; ++i) {
    const char* name = text();
    size_t bytes = number();
    emu::add_global(name, &contents[data], bytes);
    data += bytes;
  }
  for (int64_t i = 0; i < launches; ++i) {
    emu::Launch launch{text(), three(), three(), static_cast<size_t>(number())};
    find_entry(launch);
    emu::launch = &launch;
    read_arguments();
    check_sizes(launch);
    emu::run_launch(launch, call, order, seed + i);
    emu::launch = nullptr;
  }
  fseek(file, start, SEEK_SET);
  for (const emu::Global& buffer : emu::globals)
    if (fwrite(buffer.data, 1, buffer.bytes, file) != buffer.bytes) return 2;
  fclose(file);
  fprintf(stderr, "float atomics: %d\n", emu::float_atomics ? 1 : 0);
  _exit(0);
}
