"""Words and columns as ids."""

from hypothesis import given
from hypothesis import strategies as st

from l0compile.tasks.multimodal.words import PADDING, UNKNOWN, Columns, Words


def test_frequent_words_come_first_and_equals_by_alphabet() -> None:
    words = Words.of(["b a c c", "Don't a!"], 5)
    assert words.ids == {"a": 2, "c": 3, "!": 4}
    found = words.encode(["c A zebra ! a", "", "c"], 4).tolist()
    assert found == [[3, 2, UNKNOWN, 4], [UNKNOWN, 0, 0, 0], [3, 0, 0, 0]]


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 8))
def test_real_words_come_before_padding(texts: list[str], length: int) -> None:
    ids = Words.of(texts, 20).encode(texts, length)
    real = ids != PADDING
    assert ids.shape == (len(texts), length) and real[:, 0].all()
    assert (real[:, :-1] | ~real[:, 1:]).all()  # nothing real after padding


cells = st.one_of(st.none(), st.integers(-50, 50))
rows = st.lists(st.tuples(cells, st.one_of(st.none(), st.sampled_from("xyz"))), min_size=1, max_size=40)


@given(rows, rows)
def test_columns_have_ids_of_their_own(
    train: list[tuple[int | None, str | None]], other: list[tuple]
) -> None:
    columns = Columns.of(train)
    ids = columns.encode([*train, *other])
    low, high = columns.first[1], columns.size
    assert ((ids[:, 0] >= 0) & (ids[:, 0] < low)).all() and ((ids[:, 1] >= low) & (ids[:, 1] < high)).all()
    for row, found in zip([*train, *other], ids.tolist(), strict=True):
        known = row[1] in {text for _, text in train} - {None}
        assert (found[1] == low) == (not known)
        if row[0] is None:
            assert found[0] == 0


def test_numbers_of_different_size_are_told_apart() -> None:
    columns = Columns.of([(number,) for number in range(160)])
    ids = columns.encode([(0,), (79,), (159,), (1000,)])[:, 0].tolist()
    assert ids == sorted(ids) and len(set(ids)) == 3 and columns.size == 17
