"""Runs in step: who waits for whom, and what is left when one of them fails."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.studies.pruning.lockstep import run_in_step


class Net(nn.Module):
    """Calls its layers in the order that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(3, 3) for name in "abc"})

    def forward(self, x: Tensor, way: str = "abc") -> Tensor:
        for name in way:
            x = self.layers[name](x).relu()
        return x


def layers_of(*nets: Net) -> dict[str, list[nn.Module]]:
    return {name: [net.layers[name] for net in nets] for name in "abc"}


def computed(net: Net) -> Callable[[str, list[Tensor]], list[Tensor]]:
    """A visit that returns what the layers would."""
    return lambda name, inputs: [nn.Linear.forward(net.layers[name], x) for x in inputs]  # type: ignore[arg-type]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_inputs_arrive_together_and_in_order(net: Net, count: int) -> None:
    batches = [torch.randn(4, 3) for _ in range(count)]
    seen: list[tuple[str, list[Tensor]]] = []
    outputs: dict[int, Tensor] = {}

    def run(number: int) -> None:
        outputs[number] = net(batches[number])

    def visit(name: str, inputs: list[Tensor]) -> list[Tensor]:
        assert not torch.is_grad_enabled()
        seen.append((name, inputs))
        return computed(net)(name, inputs)

    run_in_step([partial(run, number) for number in range(count)], layers_of(net), visit)
    assert torch.is_grad_enabled()
    assert [name for name, _ in seen] == ["a", "b", "c"]
    wanted = list(batches)
    for name, inputs in seen:
        assert len(inputs) == count
        assert all(torch.equal(x, y) for x, y in zip(inputs, wanted, strict=True)), name
        wanted = [net.layers[name](x).relu() for x in wanted]
    assert all(torch.equal(outputs[number], wanted[number]) for number in range(count))


def test_what_the_visit_returns_is_what_the_layers_return(net: Net) -> None:
    other, outputs = Net(), []
    runs = [lambda model=model: outputs.append(model(torch.ones(1, 3))) for model in (net, other)]
    numbers = {"a": (1.0, 2.0), "b": (3.0, 4.0), "c": (5.0, 6.0)}
    run_in_step(
        runs, layers_of(net, other), lambda name, inputs: [torch.full((1, 3), n) for n in numbers[name]]
    )
    assert [output.tolist() for output in outputs] == [[[5.0] * 3], [[6.0] * 3]]


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        (("abc", "bac"), "different paths: one reached b, another a"),
        (("abc", "ab"), "different paths: one reached its end, another c"),
        (("ab", "abc"), "different paths: one reached c, another its end"),
        (("abc", "abc", "acb"), "different paths: one reached c, another b"),
        (("abc", "abc", "ab"), "different paths: one reached its end, another c"),
        (("", "a"), "different paths: one reached a, another its end"),
        (("abcc", "abc"), "different paths: one reached its end, another c"),
        (("ab", "ab"), "never reached c"),
        ((), "never reached a, b, c"),
    ],
)
def test_runs_that_part_are_an_error(net: Net, ways: tuple[str, ...], message: str) -> None:
    runs = [partial(net, torch.ones(1, 3), way) for way in ways]
    with pytest.raises(DataError, match=message):
        run_in_step(runs, layers_of(net), computed(net))
    check_restored(net)


def check_restored(net: Net) -> None:
    """Nothing is left of the meeting: no layer's forward, and no thread that waits."""
    assert all("forward" not in layer.__dict__ for layer in net.layers.values())
    x = torch.randn(2, 3)
    with torch.no_grad():
        assert torch.equal(net(x, "a"), (x @ net.layers["a"].weight.T + net.layers["a"].bias).relu())  # type: ignore[union-attr,operator]
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if "take_part" in t.name]


class Odd(Exception):
    """None of ours."""


@pytest.mark.parametrize("at", ["a", "c"])
def test_an_error_in_the_visit_reaches_the_caller(net: Net, at: str) -> None:
    error = Odd("from the visit")

    def visit(name: str, inputs: list[Tensor]) -> list[Tensor]:
        if name == at:
            raise error
        return computed(net)(name, inputs)

    with pytest.raises(Odd) as caught:
        run_in_step([partial(net, torch.ones(1, 3))] * 3, layers_of(net), visit)
    assert caught.value is error
    check_restored(net)


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("way", ["", "ab", "abc"])
def test_an_error_in_a_run_reaches_the_caller(net: Net, failing: int, way: str) -> None:
    error = Odd("from a run")

    def run(number: int) -> Any:
        if number != failing:
            return net(torch.ones(1, 3))
        if way:
            net(torch.ones(1, 3), way)
        raise error

    with pytest.raises(Odd) as caught:
        run_in_step([partial(run, number) for number in range(3)], layers_of(net), computed(net))
    assert caught.value is error
    check_restored(net)


def test_afterwards_the_layers_are_as_before(net: Net) -> None:
    run_in_step([partial(net, torch.ones(1, 3))] * 2, layers_of(net), computed(net))
    check_restored(net)
