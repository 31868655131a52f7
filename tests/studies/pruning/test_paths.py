"""The cache of paths: written, read, and not trusted blindly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from direct import random_layer
from torch import nn

from l0compile.studies.pruning import pruners
from l0compile.studies.pruning.curvature import Curvature
from l0compile.studies.pruning.paths import all_paths
from l0compile.studies.pruning.prune import PruningPath, prune

SHAPES = {"0": ((4, 1), (4, 4)), "1": ((2, 1),)}
FILES = 3


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 5))


@pytest.fixture
def curvature() -> dict[str, Curvature]:
    return {"0": random_layer(8, 6, 0)[1], "1": random_layer(5, 8, 1)[1]}


def same(found: dict[str, dict[Any, PruningPath]], wanted: dict[str, dict[Any, PruningPath]]) -> bool:
    pairs = [(found[name][shape], wanted[name][shape]) for name, shapes in SHAPES.items() for shape in shapes]
    return all(
        (a.block, a.densities, a.losses) == (b.block, b.densities, b.losses) and torch.equal(a.gone, b.gone)
        for a, b in pairs
    )


def forbid_pruning(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> PruningPath:
        raise AssertionError("computed again")

    patch.setattr(pruners, "prune", fail)


def test_paths_are_those_of_prune(model: nn.Sequential, curvature: dict[str, Curvature]) -> None:
    told: list[tuple[int, int]] = []
    found = all_paths(model, curvature, SHAPES, None, lambda done, total: told.append((done, total)))
    wanted = {
        name: {shape: prune(model[int(name)].weight.detach(), curvature[name], shape) for shape in shapes}
        for name, shapes in SHAPES.items()
    }
    assert {name: tuple(by_shape) for name, by_shape in found.items()} == SHAPES
    assert same(found, wanted) and told == [(1, 3), (2, 3), (3, 3)]


def test_what_was_computed_is_read(
    model: nn.Sequential, curvature: dict[str, Curvature], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = all_paths(model, curvature, SHAPES, tmp_path / "cache")
    files = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert len(files) == FILES and all(name.endswith(".safetensors") for name in files)
    forbid_pruning(monkeypatch)
    told: list[int] = []
    again = all_paths(model, curvature, SHAPES, tmp_path / "cache", lambda done, total: told.append(done))
    assert same(again, first) and told == [1, 2, 3]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_run_goes_on(
    model: nn.Sequential,
    curvature: dict[str, Curvature],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    threads: int,
) -> None:
    before = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(before))
    torch.set_num_threads(threads)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        all_paths(model, curvature, SHAPES, tmp_path, stop)
    # With another thread the third path may be under way already, and is then kept as well.
    known = len(list(tmp_path.glob("*.safetensors")))
    assert known == 2 if threads == 1 else known in (2, 3)
    computed: list[tuple[int, int]] = []

    def counted(weight: torch.Tensor, statistics: Curvature, shape: tuple[int, int]) -> PruningPath:
        computed.append(shape)
        return prune(weight, statistics, shape)

    monkeypatch.setattr(pruners, "prune", counted)
    found = all_paths(model, curvature, SHAPES, tmp_path)
    assert computed == [(2, 1)][: 3 - known] and same(found, all_paths(model, curvature, SHAPES, None))


@pytest.mark.parametrize("damage", ["cut", "empty", "junk", "other"])
def test_a_damaged_file_is_computed_anew(
    model: nn.Sequential,
    curvature: dict[str, Curvature],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    first = all_paths(model, curvature, SHAPES, tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        bad = {"cut": content[:-7], "empty": b"", "junk": b"\xff" * len(content), "other": _other()}
        file.write_bytes(bad[damage])
    assert same(all_paths(model, curvature, SHAPES, tmp_path), first)
    forbid_pruning(monkeypatch)
    assert same(all_paths(model, curvature, SHAPES, tmp_path), first)


def _other() -> bytes:
    """A file of the right format that holds something else."""
    from safetensors.torch import save

    return save({"densities": torch.ones(3)})


@pytest.mark.parametrize("change", ["weight", "gram", "sensitivity"])
def test_other_numbers_have_other_keys(
    model: nn.Sequential, curvature: dict[str, Curvature], tmp_path: Path, change: str
) -> None:
    all_paths(model, curvature, SHAPES, tmp_path)
    with torch.no_grad():
        what = model[0].weight if change == "weight" else getattr(curvature["0"], change)
        what.view(-1)[0] += 1e-3
    fresh = Curvature(curvature["0"].gram, curvature["0"].sensitivity)
    all_paths(model, {**curvature, "0": fresh}, SHAPES, tmp_path)
    # Two shapes of the layer that changed; the other layer's file serves again.
    assert len(list(tmp_path.iterdir())) == FILES + 2
