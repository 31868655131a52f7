"""TensorIR: tensors, schedules, memory, and the build of one function."""
