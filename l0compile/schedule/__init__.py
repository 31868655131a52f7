"""Schedules as data: the token tile of a target, those of linear layers, and the rule for ordinary operators."""

from l0compile.kernels import default_schedule
from l0compile.schedule.linear import legal_schedules
from l0compile.schedule.token_tile import token_tile

__all__ = ["default_schedule", "legal_schedules", "token_tile"]
