"""All that a tensor carries besides its memory: the answer is the model's own, or a typed error names what was found.

The same kinds of tensors meet a compiled model in both engines, a loaded artifact, and the backend of torch.compile.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import l0compile as l0
from l0compile.compiler.dynamo import backend
from l0compile.errors import CaptureError, InputError
from l0compile.runtime.artifact import read_bundle, write_bundle

WIDTH = 6
ENTRANCES = ("tvm", "torch", "loaded")


class Wrapper(Tensor):
    """A tensor without memory that stands for another one, as those of quantization and graph libraries do."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapper":
        made = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)  # type: ignore[attr-defined]
        made.inner = inner
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        plain = [each.inner if isinstance(each, Wrapper) else each for each in args]
        return func(*plain, **(kwargs or {}))


class Edges(Wrapper):
    """One that can say which tensor it stands for, as PyTorch Geometric's ``EdgeIndex`` does."""

    def as_tensor(self) -> Tensor:
        return self.inner


class Marked(Tensor):
    """Memory as usual under another class."""


def _strided(x: Tensor) -> Tensor:
    room = torch.empty(x.shape[0] * 3 + 1, x.shape[1] * 2 + 3)
    view = room[1::3, 3::2]
    return view[: x.shape[0]].copy_(x)


def _offset(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros(3), x.flatten()])[3:].view(x.shape)


def _imaginary(x: Tensor) -> Tensor:
    return torch.complex(torch.zeros_like(x), -x).conj().imag  # strided, with the negative bit


def _in_inference_mode(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()


def _odd_strides(x: Tensor) -> Tensor:
    return x.clone().as_strided(x.shape, (WIDTH if x.shape[0] > 1 else 999, 1))


# Values -> a tensor of these values, in a form that a caller may have.
TAKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": Tensor.clone,
    "negated lazily": lambda x: torch._neg_view(-x),
    "negated lazily and strided": _imaginary,
    "real part of a conjugate": lambda x: torch.complex(x, x).conj().real,
    "view_as_real": lambda x: torch.view_as_real(torch.complex(x, -x).conj().resolve_conj())[..., 0],
    "transposed": lambda x: x.t().contiguous().t(),
    "strided": _strided,
    "offset": _offset,
    "odd strides": _odd_strides,
    "expanded": lambda x: x[:1].clone().expand(x.shape),
    "requires grad": lambda x: x.clone().requires_grad_(),
    "computed from what requires grad": lambda x: x.clone().requires_grad_() * 2,
    "negated, of what requires grad": lambda x: torch._neg_view(x.clone().requires_grad_()),
    "parameter": lambda x: nn.Parameter(x.clone()),
    "inference": _in_inference_mode,
    "another class": lambda x: x.clone().as_subclass(Marked),
    "another class, negated": lambda x: torch._neg_view(-x).as_subclass(Marked),
    "unwrapped": lambda x: Edges(x.clone()),
    "shared": lambda x: x.clone().share_memory_(),
}


def _freed(x: Tensor) -> Tensor:
    made = x.clone()
    made.untyped_storage().resize_(0)
    return made


# What compiled code cannot read, and what the message says of it.
REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "wrapper": (Wrapper, r"Wrapper, which stands for other tensors; pass the plain tensor"),
    "fake": (lambda x: FakeTensorMode().from_tensor(x), "FakeTensor, which stands for"),
    "functional": (torch._to_functional_tensor, "without memory"),
    "zeros without memory": (lambda x: torch._efficientzerotensor(x.shape), "without memory"),
    "freed": (_freed, "without memory"),
    "meta": (lambda x: x.to("meta"), "meta device"),
    "quantised": (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), "quint8; pass .dequantize"),
    "COO": (lambda x: x.to_sparse(), r"sparse_coo; convert it with .to_dense\(\)"),
    "CSR": (lambda x: x.to_sparse_csr(), "sparse_csr"),
    "BSR": (lambda x: x.to_sparse_bsr((1, 2)), "sparse_bsr"),
    "oneDNN": (lambda x: x.to_mkldnn(), "_mkldnn"),
    "nested": (lambda x: torch.nested.nested_tensor([x[0], x[0]]), "nested tensor; pad it"),
    "jagged": (lambda x: torch.nested.nested_tensor([x[0], x[0]], layout=torch.jagged), "NestedTensor"),
    "uninitialised": (lambda x: nn.parameter.UninitializedParameter(), "without a shape"),
    "complex": (lambda x: torch.complex(x, x), "float32, got complex64"),
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x).relu()) + x.sum()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def entrances(
    model: nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Callable[[Tensor], Tensor]]:
    path = tmp_path_factory.mktemp("artifact") / "model"
    shapes = {"x": {0: "batch"}}
    made: dict[str, Any] = {
        engine: l0.compile(model, (torch.randn(4, WIDTH),), dynamic_shapes=shapes, engine=engine)
        for engine in ("tvm", "torch")
    }
    made["tvm"].save(path)
    made["loaded"] = l0.load(path)
    return made


@settings(max_examples=80)
@given(
    name=st.sampled_from(sorted(TAKEN)),
    rows=st.integers(1, 70),
    seed=st.integers(0, 100),
    entrance=st.sampled_from(ENTRANCES),
)
def test_every_form_of_a_tensor_gets_the_answer_for_its_values(
    model: nn.Module, entrances: Any, name: str, rows: int, seed: int, entrance: str
) -> None:
    values = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))
    x = TAKEN[name](values)
    with torch.no_grad():
        expected = model(x).as_subclass(Tensor)
    entrances[entrance](values)  # this shape is known now; that must not hide what comes next
    actual = entrances[entrance](x)
    assert type(actual) is Tensor and not actual.is_neg()
    torch.testing.assert_close(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "name", ["negated lazily", "negated lazily and strided", "parameter", "another class"]
)
def test_under_torch_compile(model: nn.Module, name: str) -> None:
    torch._dynamo.reset()
    compiled, values = torch.compile(model, backend=backend, options={"engine": "tvm"}), torch.randn(3, WIDTH)
    with torch.no_grad():
        for x in (values, TAKEN[name](values), values):
            torch.testing.assert_close(compiled(x), model(x), rtol=2e-5, atol=2e-5)


def test_tensors_without_elements(model: nn.Module, entrances: Any) -> None:
    empty = torch.randn(0, WIDTH)
    for entrance in ENTRANCES:
        with pytest.raises(InputError, match=r"expected batch \(axis 0\) of 1 or more, got 0"):
            entrances[entrance](empty)
    for engine in ("tvm", "torch"):
        torch.testing.assert_close(l0.compile(model, (empty,), engine=engine)(empty), model(empty).detach())


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_has_no_dense_memory_is_refused_by_name(model: nn.Module, entrances: Any, name: str) -> None:
    form, message = REFUSED[name]
    values = torch.randn(2, WIDTH)
    for entrance in ENTRANCES:
        entrances[entrance](values)
        with pytest.raises(InputError, match=f"x: expected .*{message}"):
            entrances[entrance](form(values))
    if name != "complex":
        with pytest.raises(CaptureError, match=f"example input .*{message}"):
            l0.compile(model, (form(values),))


@pytest.mark.parametrize("transform", [torch.vmap, torch.func.grad, torch.func.functionalize])
def test_function_transforms_are_refused(entrances: Any, transform: Any) -> None:
    for entrance in ENTRANCES:
        with pytest.raises(InputError, match=r"without memory; call it outside of torch\.func"):
            transform(lambda x, call=entrances[entrance]: call(x).sum())(torch.randn(2, 2, WIDTH)[0])


def test_wrappers_under_dynamo_get_the_models_answer(model: nn.Module) -> None:
    torch._dynamo.reset()
    compiled, values = torch.compile(model, backend=backend, options={"engine": "tvm"}), torch.randn(2, WIDTH)
    with torch.no_grad():
        for x in (values, Wrapper(values), Edges(values), values):
            torch.testing.assert_close(compiled(x), model(values), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["negated lazily", "expanded", "unwrapped", "another class"])
def test_example_inputs_of_every_form(model: nn.Module, name: str) -> None:
    x = TAKEN[name](torch.randn(3, WIDTH))
    compiled = l0.compile(model, (x,), engine="tvm")
    torch.testing.assert_close(compiled(x), model(x).detach().as_subclass(Tensor), rtol=2e-5, atol=2e-5)


class Signs(nn.Module):
    """Weights with the negative bit: a parameter, a buffer, a plain attribute, and a pair that share memory."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.randn(WIDTH, WIDTH)
        self.weight = nn.Parameter(torch._neg_view(torch.randn(WIDTH, WIDTH)))
        self.register_buffer("buffer", torch.randn(WIDTH, WIDTH, dtype=torch.complex64).conj().imag)
        self.attribute = torch.randn(WIDTH, dtype=torch.complex64).conj().imag
        self.register_buffer("table", table)
        self.register_buffer("negated", torch._neg_view(table))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(x, self.weight) + x @ self.buffer + self.attribute
        return y + x @ self.table + (x * 2) @ self.negated


def test_weights_with_the_negative_bit(tmp_path: Any) -> None:
    model, x = Signs().eval(), torch.randn(3, WIDTH)
    for engine in ("tvm", "torch"):
        compiled = l0.compile(model, (x,), engine=engine)
        compiled.save(tmp_path / engine)
        for each in (compiled, l0.load(tmp_path / engine)):
            torch.testing.assert_close(each(x), model(x).detach(), rtol=2e-5, atol=2e-5)
    with torch.no_grad():
        agree = (
            torch.compile(model, backend=backend, options={"engine": "torch"})(x),
            l0.compact(model, (x,))(x),
        )
    for answer in agree:
        torch.testing.assert_close(answer, model(x).detach(), rtol=2e-5, atol=2e-5)


def test_saved_weights_keep_signs_and_conjugation(tmp_path: Any, entrances: Any) -> None:
    z = torch.randn(3, 4, dtype=torch.complex64)
    weights = {"conjugate": z.conj(), "z": z, "imaginary": z.conj().imag, "plain": z.imag}
    write_bundle(tmp_path / "m", entrances["loaded"].manifest, weights)
    back = read_bundle(tmp_path / "m").constants
    for name, tensor in weights.items():
        torch.testing.assert_close(back[name], tensor.resolve_conj().resolve_neg(), rtol=0, atol=0)


class Spectrum(nn.Module):
    """An island whose result has the negative bit, read by compiled code."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        imaginary = torch.fft.rfft(x).conj().imag
        return self.down(imaginary), imaginary


@pytest.mark.parametrize("engine", ["tvm", "torch"])
def test_results_of_islands_have_no_lazy_sign(engine: str) -> None:
    model, x = Spectrum().eval(), torch.randn(3, WIDTH)
    results = l0.compile(model, (x,), engine=engine)(x)
    for actual, expected in zip(results, model(x), strict=True):
        assert not actual.is_neg()
        torch.testing.assert_close(actual, expected.detach().resolve_neg(), rtol=2e-5, atol=2e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs a CUDA device")
def test_pinned_memory(model: nn.Module, entrances: Any) -> None:
    x = torch.randn(3, WIDTH).pin_memory()
    torch.testing.assert_close(entrances["loaded"](x), model(x).detach(), rtol=2e-5, atol=2e-5)
