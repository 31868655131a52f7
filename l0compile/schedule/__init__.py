"""Schedules as data: the token tile of a target, and the rule for ordinary operators."""

from l0compile.schedule.token_tile import token_tile

__all__ = ["token_tile"]
