"""Compiling pauses Python's collector, and leaves it as it was."""

import gc
import weakref

import pytest

from l0compile.hardware.process.collector import collect_now, collector_paused


class Cycle:
    def __init__(self) -> None:
        self.own = self


def test_garbage_of_the_block_is_collected_at_its_end() -> None:
    with collector_paused():
        assert not gc.isenabled()
        left = weakref.ref(Cycle())
        assert left() is not None
    assert left() is None and gc.isenabled() and gc.get_freeze_count() == 0


def test_garbage_is_collected_earlier_where_that_is_asked_for() -> None:
    with collector_paused():
        left = weakref.ref(Cycle())
        collect_now()
        assert left() is None and not gc.isenabled()
    gc.disable()  # by a program that wants no collections
    try:
        left = weakref.ref(Cycle())
        with collector_paused():
            collect_now()
        assert left() is not None
    finally:
        gc.enable()


def test_an_error_ends_the_pause() -> None:
    with pytest.raises(KeyError), collector_paused():
        raise KeyError
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_objects_that_the_program_froze_stay_frozen() -> None:
    gc.freeze()
    try:
        with collector_paused():
            assert gc.isenabled()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
