"""Norms, rotary embedding and the layout changes against their oracles."""

import pytest
import torch

from l0compile.kernels.cpu.norm import NormSpec
from l0compile.kernels.cpu.pack import PackSpec
from l0compile.kernels.cpu.rope import RopeSpec
from l0compile.kernels.token_tile import TokenTile

l0 = torch.ops.l0compile


# (weight, bias, original width, mean and sum of squared deviations of the channels that were removed)
NORMS = {
    "plain": (False, False, 37, 0.0, 0.0),
    "affine": (True, True, 37, 0.0, 0.0),
    "weight only": (True, False, 37, 0.0, 0.0),
    "bias only": (False, True, 37, 0.0, 0.0),
    "compacted": (True, True, 50, 0.7, 5.0),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_layer_norm(launch, tile: TokenTile, name: str, offset: float) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    weight, bias, width, mean, m2 = NORMS[name]
    x = l0.pack(torch.randn(70, 37) + offset, tile.lanes)
    parameters = [torch.randn(37) if given else None for given in (weight, bias)]
    spec = NormSpec(37, 1e-5, True, weight, bias, width, mean + offset, m2)
    operands = (x, *(p for p in parameters if p is not None))
    actual = l0.unpack(launch(spec, operands, tuple(x.shape)), [70])
    doubles = [None if p is None else p.double() for p in parameters]
    reference = l0.unpack(x, [70]).double()
    expected = l0.compacted_layer_norm(reference, *doubles, 1e-5, width, mean + offset, m2).float()
    # float32 holds 1000 + noise to 6e-5, whatever computes on it: the mean itself rounds that far.
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-5 if not offset else 5e-4)


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize(("width", "squares"), [(37, 0.0), (50, 9.0)])
def test_rms_norm(launch, tile: TokenTile, weight: bool, width: int, squares: float) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    x = l0.pack(torch.randn(70, 37) + 2, tile.lanes)
    parameter = torch.randn(37) if weight else None
    spec = NormSpec(37, 1e-6, False, weight, False, width, 0.0, squares)
    actual = launch(spec, (x,) if parameter is None else (x, parameter), tuple(x.shape))
    expected = l0.packed_rms_norm(
        x.double(), None if parameter is None else parameter.double(), 1e-6, width, squares
    )
    torch.testing.assert_close(
        l0.unpack(actual, [70]), l0.unpack(expected, [70]).float(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("tokens", [1, 15, 64, 65, 130])
def test_pack_and_unpack(launch, tile: TokenTile, tokens: int) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(tokens, 21)
    packed = l0.pack(x, tile.lanes)
    actual = launch(PackSpec(21, unpack=False), (x,), tuple(packed.shape))
    live = -(-tokens // tile.vector) * tile.vector  # the register of the last token is filled up with zeros
    assert torch.equal(l0.unpack(actual, [live]), l0.unpack(packed, [live]))
    assert torch.equal(launch(PackSpec(21, unpack=True), (packed,), (tokens, 21)), x)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("heads", "dim"), [(1, 2), (3, 6), (2, 16)])
def test_rope(launch, tile: TokenTile, heads: int, dim: int, interleaved: bool) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    angles = dim // 2 if interleaved else dim
    x, cos, sin = (l0.pack(torch.randn(70, width), tile.lanes) for width in (heads * dim, angles, angles))
    actual = launch(RopeSpec(heads, dim, interleaved=interleaved), (x, cos, sin), tuple(x.shape))
    expected = l0.packed_rope(x, cos, sin, heads, None, interleaved)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 16, 17, 63, 64, 70, 128])
def test_registers_without_tokens_are_left_out(launch, tile: TokenTile, tokens: int) -> None:  # type: ignore[no-untyped-def]
    x, cos, sin = (l0.pack(torch.randn(tokens, width), tile.lanes) for width in (8, 4, 4))
    live = -(-tokens // tile.vector) * tile.vector
    last = (live - 1) // tile.lanes, (live - 1) % tile.lanes // tile.vector * tile.vector
    expected = l0.packed_rms_norm(x, None, 1e-6, 8, 0.0), l0.packed_rope(x, cos, sin, 2)
    for tail in (None, tokens % tile.lanes):
        specs = NormSpec(8, 1e-6, False, False, False, 8, 0.0, 0.0, tail), RopeSpec(2, 4, tail)
        sizes = (tokens,) if tail is None else ()
        results = [
            launch(spec, (*operands, *sizes), tuple(x.shape))
            for spec, operands in zip(specs, ((x,), (x, cos, sin)), strict=True)
        ]
        for actual, wanted in zip(results, expected, strict=True):
            torch.testing.assert_close(l0.unpack(actual, [tokens]), l0.unpack(wanted, [tokens]))
            # `launch` fills results with NaN: computed as far as the last token's register, and no further.
            assert not actual[last[0], :, : last[1] + tile.vector].isnan().any()
            assert actual[last[0], :, last[1] + tile.vector :].isnan().all()
