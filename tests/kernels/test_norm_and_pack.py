"""LayerNorm and the layout changes against their oracles."""

import pytest
import torch

from l0compile.kernels import LayerNormSpec, PackSpec, TokenTile

l0 = torch.ops.l0compile


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_layer_norm(launch, tile: TokenTile, affine: bool, offset: float) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    x = l0.pack(torch.randn(70, 37) + offset, tile.lanes)
    parameters = (torch.randn(37), torch.randn(37)) if affine else ()
    actual = l0.unpack(launch(LayerNormSpec(37, 1e-5, affine), (x, *parameters), tuple(x.shape)), [70])
    reference = l0.unpack(x, [70]).double()
    doubles = [p.double() for p in parameters] or [None, None]
    expected = torch.nn.functional.layer_norm(reference, (37,), *doubles, 1e-5).float()
    # float32 holds 1000 + noise to 6e-5, whatever computes on it: the mean itself rounds that far.
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-5 if not offset else 5e-4)


@pytest.mark.parametrize("tokens", [1, 15, 64, 65, 130])
def test_pack_and_unpack(launch, tile: TokenTile, tokens: int) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(tokens, 21)
    packed = l0.pack(x, tile.lanes)
    assert torch.equal(launch(PackSpec(21, unpack=False), (x,), tuple(packed.shape)), packed)
    assert torch.equal(launch(PackSpec(21, unpack=True), (packed,), (tokens, 21)), x)
