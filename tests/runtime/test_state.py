"""Buffers that forward() changes are state of the compiled model: eager's values call by call, and nobody else's."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.compiler.compile import compile, load
from l0compile.errors import CaptureError, InputError, StateError
from l0compile.runtime import CompiledModel
from tests.runtime.stateful_models import (
    Assigned,
    Cache,
    Counting,
    Decoder,
    Returned,
    Slices,
    Statistics,
    Window,
)

Call = tuple[Tensor, ...]


def rows(*places: int) -> list[Call]:
    return [(torch.randn(1, 2, 1, 4), torch.tensor([place])) for place in places]


def draws(*shape: int) -> list[Call]:
    return [(torch.randn(*shape),) for _ in range(3)]


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Call]]]] = {
    "statistics": (Statistics, lambda: draws(2, 4)),
    "cache": (Cache, lambda: rows(3, 0, 7)),
    "assigned": (Assigned, lambda: rows(3, 0, 7)),
    "slices": (Slices, lambda: draws(2, 2, 4)),
    "returned": (Returned, lambda: draws(4)),
    "window": (Window, lambda: draws(1, 3, 2)),
    "counting": (Counting, lambda: draws(1, 2, 1, 4)),
}


@torch.no_grad()
def follow(compiled: CompiledModel, model: nn.Module, calls: Sequence[Call]) -> None:
    """Call both in turn; results and state agree after each call."""
    for call in calls:
        torch.testing.assert_close(compiled(*call), model(*call), rtol=2e-5, atol=1e-5)
        for name, value in compiled.state.items():
            torch.testing.assert_close(value, model.get_buffer(name), rtol=2e-5, atol=1e-5)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("engine", ["torch", "tvm"])
def test_every_way_to_change_a_buffer(name: str, engine: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, drawn = CASES[name]
    model, calls = make().eval(), drawn()
    identities, before = [id(buffer) for buffer in model.buffers()], values(model)
    compiled = compile(model, calls[0], verify=[(call, {}) for call in calls[1:]], engine=engine)
    assert [id(buffer) for buffer in model.buffers()] == identities
    torch.testing.assert_close(values(model), before, rtol=0, atol=0)
    torch.testing.assert_close(compiled.state, {n: before[n] for n in compiled.state}, rtol=0, atol=0)
    in_place = [line.partition(":")[0] for line in compiled.explain().state if line.endswith("in place")]
    assert in_place == {"slices": ["sliced", "entry"], "counting": ["kept", "short"]}.get(
        name, ["kept"] if issubclass(make, Cache) else []
    )
    compiled.save(tmp_path / "model")
    follow(compiled, model, calls)
    compiled.save(
        tmp_path / "later"
    )  # an artifact starts from the values at compile time, whenever it is saved
    model.load_state_dict(before, strict=False)
    for key, value in before.items():
        model.get_buffer(key).copy_(value)
    for again in (load(tmp_path / "model"), load(tmp_path / "later")):
        follow(again, model, calls[:2])
        for key, value in before.items():
            model.get_buffer(key).copy_(value)
    compiled.reset_state()
    follow(compiled, model, calls[:2])


@torch.no_grad()
def greedy(model: Callable[[Tensor], Tensor], prompt: Tensor, count: int) -> Iterator[int]:
    ids = prompt
    for _ in range(count):
        ids = model(ids).argmax(-1, keepdim=True)
        yield int(ids)


@pytest.mark.parametrize("engine", ["torch", pytest.param("tvm", marks=pytest.mark.slow)])
def test_decoding_with_a_cache(engine: str, tmp_path: Path) -> None:
    """One compiled model reads prompts of any length and makes the tokens; neurons that are dead go all the same."""
    torch.manual_seed(0)
    model, prompt = Decoder().eval(), torch.randint(0, 40, (1, 5))
    with torch.no_grad():
        model.layers[0].up.weight[8:] = 0.0
    compiled = compile(model, (prompt,), dynamic_shapes={"ids": {1: "tokens"}}, engine=engine)
    wanted = list(greedy(model, prompt, 11))
    assert list(greedy(compiled, prompt, 11)) == wanted and len(set(wanted)) > 3
    compiled.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert list(greedy(loaded, prompt, 11)) == wanted
    with pytest.raises((InputError, IndexError)):  # the cache is full
        loaded(prompt)
    loaded.reset_state()
    assert list(greedy(loaded, prompt, 11)) == wanted
    account = compiled.explain()
    assert {text.partition(":")[0] for text in account.state} == {
        "seen", "layers.0.attention.keys", "layers.0.attention.values",
    }  # fmt: skip
    assert "layers.0.attention.keys: float32 1×2×16×4, 512 bytes, written to in place" in str(account)
    shapes = {region.name: region.shape_after for region in account.regions}
    assert shapes["layers.0.down"] == (16, 8)


@pytest.fixture(scope="module")
def cached() -> tuple[CompiledModel, Cache]:
    torch.manual_seed(0)
    model = Cache().eval()
    return compile(model, rows(0)[0], engine="torch"), model


@settings(max_examples=20)
@given(places=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_a_failing_call_changes_nothing(cached: tuple[CompiledModel, Cache], places: list[int]) -> None:
    """Places 8 and 9 do not exist; eager refuses them as well."""
    compiled, model = cached
    compiled.reset_state()
    model.kept.zero_()
    for call in rows(*places):
        if int(call[1]) < 8:
            follow(compiled, model, [call])
            continue
        before = compiled.state
        with pytest.raises((InputError, IndexError)):
            compiled(*call)
        torch.testing.assert_close(compiled.state, before, rtol=0, atol=0)


def test_writes_before_a_failure_are_taken_back() -> None:
    calls = [*draws(1, 2, 1, 4), *draws(1, 2, 1, 4)]
    compiled = compile(Counting().eval(), calls[0], engine="torch")
    for call in calls[:3]:
        compiled(*call)
    before = compiled.state
    with pytest.raises(IndexError):
        compiled(*calls[3])
    torch.testing.assert_close(compiled.state, before, rtol=0, atol=0)
    assert int(before["at"]) == 3


def test_looking_at_a_model_does_not_advance_it(cached: tuple[CompiledModel, Cache]) -> None:
    compiled, _ = cached
    compiled.reset_state()
    compiled(*rows(2)[0])
    before = compiled.state
    compiled.rehearse(*rows(5)[0])
    compiled.profile(*rows(6)[0])
    compiled.explain(measure=True)
    before["kept"].add_(1)  # a copy
    assert not torch.equal(compiled.state["kept"], before["kept"])
    torch.testing.assert_close(compiled.state["kept"], before["kept"] - 1)
    compiled.reset_state()
    assert not compiled.state["kept"].any()


def test_results_and_inputs_are_the_callers_own() -> None:
    for make, call in ((Returned, torch.randn(4)), (Cache, torch.randn(1, 2, 1, 4))):
        model = make().eval()
        args = (call,) if make is Returned else (call, torch.tensor([1]))
        compiled = compile(model, args, engine="torch")
        results = compiled(*args)
        before = compiled.state
        for tensor in results if isinstance(results, tuple) else (results,):
            if tensor is not call:
                tensor.fill_(7.0)
        call.fill_(8.0)
        torch.testing.assert_close(compiled.state, before, rtol=0, atol=0)


def in_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(function())
        except StateError as error:
            found.append(error)

    thread = threading.Thread(target=run, name="second")
    thread.start()
    thread.join()
    return found[0]


def test_a_second_thread_is_told(cached: tuple[CompiledModel, Cache]) -> None:
    compiled, model = cached
    compiled.reset_state()
    model.kept.zero_()
    first, second, third = rows(0, 1, 2)
    follow(compiled, model, [first])
    error = in_thread(lambda: compiled(*second))
    assert (
        isinstance(error, StateError)
        and "'second'" in str(error)
        and "load the model once more" in str(error)
    )
    follow(compiled, model, [second])  # the sequence was not disturbed
    compiled.reset_state(compiled.state)  # handed over
    in_thread(lambda: follow(compiled, model, [third]))
    assert isinstance(in_thread(lambda: compiled(*second)), StateError)
    with pytest.raises(InputError, match="expected the buffers"):
        compiled.reset_state({"other": torch.zeros(1)})
    with pytest.raises(InputError, match="expected shape"):
        compiled.reset_state({"kept": torch.zeros(1, 2, 8, 3)})


def test_an_exported_program() -> None:
    model, calls = Statistics().eval(), draws(2, 4)
    compiled = compile(torch.export.export(model, calls[0]), engine="torch")
    follow(compiled, model, calls)


class Sets(nn.Module):
    def __init__(self, what: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.register_buffer("one", torch.zeros(4))
        self.register_buffer("part", self.one[:2])
        self.weight, self.plain, self.what = nn.Parameter(torch.zeros(4)), torch.zeros(4), what

    def forward(self, x: Tensor) -> Tensor:
        self.what(self, x)
        return x * 2


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda m, x: x.add_(1), "changes this input.*make the tensor a buffer"),
        (lambda m, x: m.weight.add_(x), "changes this parameter.*register it as a buffer"),
        (lambda m, x: m.plain.add_(x), r"make it state of the model with register_buffer"),
        (lambda m, x: m.one.add_(x), "one.*memory of its own.*part|clone buffers that share memory"),
    ],
)
def test_what_is_no_state(what: Any, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        compile(Sets(what).eval(), (torch.randn(4),), engine="torch")


def test_a_number_that_forward_changes(caplog: pytest.LogCaptureFixture) -> None:
    class Counts(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    model = Counts().eval()
    model.calls = 0
    compile(model, (torch.randn(4),), engine="torch")
    assert "changes calls from 0 to 1" in caplog.text and "as a buffer" in caplog.text
    assert model.calls == 0


def test_a_model_without_state() -> None:
    compiled = compile(nn.Linear(4, 4).eval(), (torch.randn(2, 4),), engine="torch")
    compiled.reset_state()
    assert compiled.state == {} and compiled.explain().state == ()
    with pytest.raises(InputError, match="has no state"):
        compiled.reset_state({"one": torch.zeros(1)})
