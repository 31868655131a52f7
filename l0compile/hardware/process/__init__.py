"""What belongs to the whole process, not to a model: PyTorch's threads, the collector, the mode of denormals."""

from l0compile.hardware.process.collector import collect_now as collect_now
from l0compile.hardware.process.compiling import while_compiling as while_compiling
from l0compile.hardware.process.denormals import denormal_mode_restored as denormal_mode_restored
from l0compile.hardware.process.denormals import denormals_kept as denormals_kept
from l0compile.hardware.process.denormals import flushes_denormals as flushes_denormals
from l0compile.hardware.process.threads import stop_spinning as stop_spinning
from l0compile.hardware.process.threads import torch_threads as torch_threads
