"""Callbacks that train gates inside the loops of Hugging Face's Trainer and of Lightning."""

from l0compile.trainers.gate_steps import GateSteps as GateSteps
from l0compile.trainers.hugging_face import hugging_face_gates as hugging_face_gates
from l0compile.trainers.lightning import lightning_gates as lightning_gates
