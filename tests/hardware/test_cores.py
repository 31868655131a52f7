"""Work on all cores: the order of results, the threads of each, and what happens to errors."""

import threading

import pytest
import torch

from l0compile.hardware.cores import on_all_cores


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    request.addfinalizer(lambda: torch.set_num_threads(before))
    return int(request.param)


def threads_of_a_later_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_results_come_in_order_and_each_is_made_by_one_thread(threads: int) -> None:
    found = list(on_all_cores(lambda item: (item, torch.get_num_threads()), range(7)))
    assert found == [(item, 1) for item in range(7)]
    assert torch.get_num_threads() == threads_of_a_later_thread() == threads


def test_an_error_is_raised_and_the_threads_are_as_before(threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(on_all_cores(lambda item: 1 // item, [2, 1, 0, 3]))
    assert torch.get_num_threads() == threads_of_a_later_thread() == threads


def test_nothing_and_a_single_item_need_no_threads(threads: int) -> None:
    assert list(on_all_cores(lambda item: torch.get_num_threads(), [0])) == [threads]
    assert list(on_all_cores(lambda item: item, [])) == []
