"""TensorIR: tensor expressions, schedules, memory, parallel launches and the build."""
