"""A compiled model to the outside: arguments bind by the signature of forward, and it is an ``nn.Module``."""

import copy
import inspect
import io
import json
import pickle
import threading
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import l0compile as l0
from l0compile.errors import ArtifactError, CaptureError, InputError, TargetError
from l0compile.runtime import Parameters
from l0compile.runtime.artifact import pack, unpack
from l0compile.runtime.signature import Signature
from l0compile.runtime.stored import dump_signature, read_signature


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.side = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(
        self, x: Tensor, y: Tensor | None = None, *, scale: float = 2.0, signs: tuple[int, bool] = (1, True)
    ) -> Tensor:
        result = self.up(x) * scale * signs[0]
        return result if y is None else result + self.side(y)


X, Y = torch.randn(3, 8), torch.randn(3, 8)


@pytest.fixture(scope="module")
def model() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def compiled(model: Net) -> l0.CompiledModel:
    return l0.compile(model, (X,), dynamic_shapes={"x": {0: "batch"}}, engine="tvm")


@pytest.fixture(scope="module", params=["compiled", "loaded", "deepcopy", "pickle"])
def any_of(request: Any, compiled: l0.CompiledModel, tmp_path_factory: Any) -> l0.CompiledModel:
    if request.param == "loaded":
        path = tmp_path_factory.mktemp("artifact") / "model"
        compiled.save(path)
        return l0.load(path)
    if request.param == "deepcopy":
        return copy.deepcopy(compiled)
    return compiled if request.param == "compiled" else pickle.loads(pickle.dumps(compiled))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected.detach(), rtol=2e-5, atol=2e-5)


SAME: list[Callable[[Any], Tensor]] = [
    lambda f: f(X),
    lambda f: f(x=X),
    lambda f: f(X, None),
    lambda f: f(scale=2.0, x=X),
    lambda f: f(X, y=None, scale=2.0, signs=(1, True)),
]
OTHER: list[tuple[Callable[[Any], Any], str]] = [
    (lambda f: f(), "missing a required argument: 'x'; the model takes"),
    (lambda f: f(X, z=1), "unexpected keyword argument 'z'"),
    (lambda f: f(X, x=X), "multiple values for argument 'x'"),
    (lambda f: f(X, Y), "y: the model was compiled for calls without it, where it is None; compile it again"),
    (lambda f: f(X, scale=3.0), "scale: .* where it is 2.0"),
    (lambda f: f(X, scale=2), "scale: .* where it is 2.0"),
    (lambda f: f(X, signs=(1, 1)), r"signs: .* where it is \(1, True\)"),
    (lambda f: f(None), "x: expected a torch.Tensor"),
]


@pytest.mark.parametrize("call", SAME, ids=range(len(SAME)))
def test_arguments_bind_by_the_signature(model: Net, any_of: l0.CompiledModel, call: Any) -> None:
    close(call(any_of), call(model))


@pytest.mark.parametrize(("call", "message"), OTHER, ids=[message[:20] for _, message in OTHER])
def test_other_arguments_are_refused_by_name(any_of: l0.CompiledModel, call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(any_of)


def test_what_the_example_gave_may_be_left_to_its_default(model: Net) -> None:
    with_both = l0.compile(model, (X,), {"y": Y, "scale": 2.0}, engine="torch")
    for call in (lambda f: f(X, Y), lambda f: f(y=Y, x=X), lambda f: f(X, Y, scale=2.0)):
        close(call(with_both), call(model))
    with pytest.raises(InputError, match=r"y: expected a torch\.Tensor of float32, got NoneType"):
        with_both(X)


def test_an_exported_program_knows_its_names(model: Net) -> None:
    exported = l0.compile(torch.export.export(model, (X,), {"y": Y}), engine="torch")
    close(exported(X, Y), model(X, Y))
    close(exported(y=Y, x=X), model(X, Y))


def _sample(a: int, /, b: int, *rest: int, c: int = 3, d: Any = None, **others: int) -> None: ...


def _same_form(example: inspect.BoundArguments, call: inspect.BoundArguments) -> bool:
    """Whether the arguments that are in one of the two only are at their defaults."""
    one, other = example.arguments, call.arguments
    defaults = {"c": 3, "d": None}
    alone = {name for name in ("c", "d") if (name in one) != (name in other)}
    return (
        all({**defaults, **other}[name] == defaults[name] for name in alone)
        and len(one.get("rest", ())) == len(other.get("rest", ()))
        and one.get("others", {}).keys() == other.get("others", {}).keys()
    )


names = st.sampled_from(["a", "b", "c", "d", "e", "f"])
calls = st.tuples(
    st.lists(st.integers(0, 3), max_size=4),
    st.dictionaries(names, st.sampled_from([0, 1, 3, None]), max_size=4),
)


@given(calls, calls)
def test_a_call_is_rearranged_to_the_example_or_refused(example: Any, call: Any) -> None:
    """With ``inspect`` as the oracle: a rearranged call binds to the same values, and to the example's form."""
    signature = inspect.signature(_sample)
    parameters = Parameters.of(signature)
    none = torch.utils._pytree.tree_structure(((), {}))
    record = dump_signature(Signature((), (), {}, {}, none, none, parameters=parameters))
    assert read_signature(json.loads(json.dumps(record))).parameters == parameters
    try:
        wanted, bound = signature.bind(*example[0], **example[1]), signature.bind(*call[0], **call[1])
    except TypeError:
        return
    spec = torch.utils._pytree.tree_structure((tuple(example[0]), example[1]))
    try:
        args, kwargs = parameters.arranged(call[0], call[1], spec)
    except InputError:
        assert not _same_form(wanted, bound)
        return
    assert _same_form(wanted, bound)
    again = signature.bind(*args, **kwargs)
    again.apply_defaults()
    bound.apply_defaults()
    assert again.arguments == bound.arguments
    assert list(kwargs) == list(example[1])


def test_it_is_a_module(model: Net, compiled: l0.CompiledModel) -> None:
    assert isinstance(compiled, nn.Module) and not compiled.training
    assert not compiled.state_dict() and not list(compiled.parameters())
    text = repr(compiled)
    assert text.startswith(
        "CompiledModel(x: float32[batch, 8] -> output_0: float32[batch, 4]; tvm, native, 0.000"
    )
    whole = nn.Sequential(compiled, nn.ReLU(), nn.Linear(4, 2)).eval()
    close(whole(X), whole[2](model(X).relu()))
    assert whole.to("cpu").float() is whole and compiled.to("cpu") is compiled.eval()
    with pytest.warns(UserWarning, match="for inference only: it stays in eval mode"):
        whole.train()
    assert whole.training and not compiled.training


def test_hooks_run(model: Net, any_of: l0.CompiledModel) -> None:
    handles = [
        any_of.register_forward_pre_hook(lambda module, args: (args[0] * 3,)),
        any_of.register_forward_hook(lambda module, args, result: -result),
    ]
    close(any_of(X), -model(X * 3))
    for handle in handles:
        handle.remove()
    close(any_of(X), model(X))


@pytest.mark.parametrize("name", ["half", "double", "bfloat16"])
def test_it_stays_in_its_type(compiled: l0.CompiledModel, name: str) -> None:
    for module in (compiled, nn.Sequential(compiled)):
        with pytest.raises(
            TargetError, match=r"runs on the CPU in torch.float32, cannot be converted to torch\."
        ):
            getattr(module, name)()


def test_it_stays_on_the_cpu(compiled: l0.CompiledModel) -> None:
    with pytest.raises(TargetError, match="on meta; convert the original model"):
        compiled.to("meta")
    with pytest.raises(TargetError, match="cannot be converted"):
        nn.Sequential(compiled).to("cuda")


def test_copies_are_apart(model: Net, compiled: l0.CompiledModel, tmp_path: Path) -> None:
    """No file is left behind, none is needed, and each has a lock of its own."""
    other = copy.deepcopy(compiled)
    again = pickle.loads(pickle.dumps(other))
    again.save(tmp_path / "m")
    answers: dict[int, Tensor] = {}

    def work(number: int, each: l0.CompiledModel) -> None:
        for _ in range(50):
            answers[number] = each(X)

    each = [compiled, other, again, l0.load(tmp_path / "m")]
    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(each)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    for answer in answers.values():
        close(answer, model(X))
    assert again.manifest == compiled.manifest


def test_a_pickle_holds_an_artifact_and_nothing_else(compiled: l0.CompiledModel, tmp_path: Path) -> None:
    function, (data,) = compiled.__reduce__()
    assert function.__module__.startswith("l0compile.")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert set(archive.namelist()) == {"manifest.json", "weights.safetensors", "lib.so"}
    with pytest.raises(ArtifactError, match="damaged"):
        function(data[: len(data) // 2])
    (tmp_path / "other.txt").write_text("text")
    with pytest.raises(ArtifactError, match=r"'other\.txt' is no file of an artifact"):
        unpack(pack(tmp_path), tmp_path / "out")


def test_what_is_compiled_already_is_not_compiled_again(compiled: l0.CompiledModel) -> None:
    for whole in (compiled, nn.Sequential(compiled).eval()):
        with pytest.raises(CaptureError, match="is compiled already"):
            l0.compile(whole, (X,))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_by_name() -> None:
    for script in (torch.jit.script(nn.Linear(8, 3).eval()), torch.jit.trace(nn.Linear(8, 3).eval(), X)):
        with pytest.raises(
            CaptureError, match=r"got TorchScript .*compile the nn\.Module that it was made from"
        ):
            l0.compile(script, (X,))


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_refusal_is_short_and_keeps_its_cause() -> None:
    with pytest.raises(CaptureError) as caught:
        l0.compile(Branches().eval(), (X,))
    text = "".join(traceback.format_exception(caught.value))
    assert "torch/" not in text and len(text.splitlines()) < 20
    assert "test_module.py" in str(caught.value) and "torch.where" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert type(caught.value.__context__).__module__.startswith("torch")
