"""What belongs to the whole process and not to a model: PyTorch's threads, and whether denormals are numbers."""

from l0compile.process.denormals import denormals_kept as denormals_kept
from l0compile.process.denormals import flushes_denormals as flushes_denormals
from l0compile.process.threads import stop_spinning as stop_spinning
from l0compile.process.threads import torch_threads as torch_threads
