"""Factories that the worker process of the tests imports."""

import os
import time

import torch


class Scaled(torch.nn.Module):
    """(x [n, 8], shift [8]) -> [n, 8]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(width, width)

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + shift


class Reporting(torch.nn.Module):
    """Fails with what the worker's process looks like, which makes it visible to the parent."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        denormals = "flushed" if float(torch.tensor([1e-42]) * 1.0) == 0.0 else "kept"
        print("noise on standard output")
        raise RuntimeError(
            f"threads={torch.get_num_threads()} omp={os.environ['OMP_NUM_THREADS']} denormals={denormals}"
        )


class Dying(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        os._exit(3)


class Slow(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(30)
        return x


def scaled(width: int = 8) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Scaled(width), (torch.ones(2, width), torch.ones(width))


def scaled_by_name() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    return Scaled(8), (torch.ones(2, 8),), {"shift": torch.ones(8)}


def not_inputs() -> tuple[torch.nn.Module, torch.Tensor]:
    return Scaled(8), torch.ones(2, 8)


def reporting() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Reporting(), (torch.ones(1),)


def dying() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Dying(), (torch.ones(1),)


def slow() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Slow(), (torch.ones(1),)


def not_a_model() -> int:
    return 3
