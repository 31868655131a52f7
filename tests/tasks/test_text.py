"""Text sources and the split: same on every machine, no leakage, clear errors."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.tasks.data_folder import DATA_VARIABLE
from l0compile.tasks.sources import folder, python_topics, sentences
from l0compile.tasks.text import load_corpus, split

WORDS = ["alpha", "bravo", "carol", "delta", "early", "fancy", "grape", "hotel", "index", "joker"]


def prose(document: int, count: int) -> str:
    lines = [
        " ".join(WORDS[(document * 7 + n * 3 + k * k) % 10] for k in range(6 + n % 5)) for n in range(count)
    ]
    return " ".join(
        f"Text {'xyz'[document % 3] * (document + 1)} {'n' * (n + 1)} {line}." for n, line in enumerate(lines)
    )


def write_folder(path: Path, documents: int = 12, count: int = 12) -> Path:
    for document in range(documents):
        (path / f"{document:02}.txt").write_text(prose(document, count), encoding="utf-8")
    return path


def test_default_text_is_large_enough_and_has_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    corpus = load_corpus()
    assert len(corpus.train) > 1000 and len(corpus.validation) > 100 and len(corpus.held_out) > 300
    everything = corpus.train + corpus.validation + corpus.held_out
    assert len(set(everything)) == len(everything)
    assert not any(">>>" in s or "::=" in s or "\n" in s for s in everything)
    assert load_corpus() == corpus


def test_topics_and_splits_share_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    corpus = load_corpus()
    parts = {s: name for name in ("train", "validation", "held_out") for s in getattr(corpus, name)}
    for topic, found in python_topics():
        # A sentence that other topics have too may have gone to theirs; most of a topic is in one part.
        counts = [sum(parts[s] == name for s in found) for name in ("train", "validation", "held_out")]
        assert not found or max(counts) >= 0.5 * len(found), topic


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.lists(st.integers(0, 120), min_size=1, max_size=40)),
        min_size=1,
        max_size=25,
    )
)
def test_split_is_a_partition_whatever_the_documents(drawn: list[tuple[int, list[int]]]) -> None:
    documents = [(f"doc {name}", [f"sentence {n}" for n in numbers]) for name, numbers in drawn]
    total = {s for _, found in dict(documents).items() for s in found}
    try:
        corpus = split(documents)
    except DataError:
        return
    parts = [set(corpus.train), set(corpus.validation), set(corpus.held_out)]
    assert set().union(*parts) == total and sum(map(len, parts)) == len(total)
    assert all(parts)


def test_documents_that_are_mostly_copies_stay_together() -> None:
    documents = [(f"d{n}", [f"{n} {k}" for k in range(20)]) for n in range(20)]
    copies = [(f"copy {n}", [*found, f"extra {n}"]) for n, (_, found) in enumerate(documents)]
    corpus = split([*documents, *copies])
    parts = [set(corpus.train), set(corpus.validation), set(corpus.held_out)]
    for _, found in copies:
        assert sum(bool(part & set(found)) for part in parts) == 1


def test_split_does_not_depend_on_document_order() -> None:
    documents = [(f"d{n}", [f"{n} {k}" for k in range(12)]) for n in range(20)]
    assert split(documents) == split(documents[::-1])


def test_folder_of_text_files_and_json_lines_give_the_same_split(tmp_path: Path) -> None:
    texts = write_folder(tmp_path / "txt" if (tmp_path / "txt").mkdir() is None else tmp_path)
    packed = tmp_path / "jsonl"
    packed.mkdir()
    with gzip.open(packed / "all.jsonl.gz", "wt", encoding="utf-8") as file:
        for text in sorted(texts.iterdir()):
            file.write(json.dumps({"text": text.read_text(encoding="utf-8"), "movie": text.name}) + "\n\n")
    one, other = load_corpus(texts), split(folder(packed, group="movie"))
    assert (one.train, one.validation, one.held_out) == (other.train, other.validation, other.held_out)


def test_limit_stops_after_whole_documents(tmp_path: Path) -> None:
    write_folder(tmp_path)
    found = folder(tmp_path, limit=20)
    assert [len(document) for _, document in found] == [12, 12]


def test_more_is_read_where_more_is_wanted_to_train_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l0compile.tasks.text.READ", 100)
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(prose(number, 12), encoding="utf-8")
    usual, more = load_corpus(tmp_path), load_corpus(tmp_path, train=200)
    assert sum(map(len, (usual.train, usual.validation, usual.held_out))) == 108
    assert len(usual.train) < 100 and 200 <= len(more.train) < 260


def test_imdb_where_the_environment_points_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imdb").mkdir()
    rows = [{"text": prose(n, 12), "movie": f"film {n // 2}"} for n in range(24)]
    (tmp_path / "imdb" / "train-00.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    corpus = load_corpus()
    assert corpus.source == "IMDB reviews"
    for film in range(12):
        found = {s for n in (2 * film, 2 * film + 1) for s in sentences(prose(n, 12))}
        assert (
            sum(bool(found & set(part)) for part in (corpus.train, corpus.validation, corpus.held_out)) == 1
        )


@pytest.mark.skipif(
    not Path(os.environ.get(DATA_VARIABLE, "")).joinpath("imdb").is_dir(),
    reason=f"{DATA_VARIABLE} does not point at a folder with imdb/",
)
def test_real_imdb() -> None:
    corpus = load_corpus()
    assert corpus.source == "IMDB reviews" and len(corpus.train) > 10_000
    assert not any("<br" in sentence for sentence in corpus.held_out)


def test_a_wrong_data_folder_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=f"{DATA_VARIABLE} names .*nowhere.*unset"):
        load_corpus()


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a folder .*missing"):
        load_corpus(tmp_path / "missing")
    (tmp_path / "notes.md").write_text("A sentence that no loader reads at all.")
    with pytest.raises(DataError, match=r"no \.txt, .* leave --text out"):
        load_corpus(tmp_path)


def test_too_little_text_says_how_much_is_needed(tmp_path: Path) -> None:
    write_folder(tmp_path, documents=2, count=10)
    with pytest.raises(DataError, match=r"holds 20 sentences in 2 separate documents; expected at least 60"):
        load_corpus(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"text": "A fine line of text here."}\n{"text": ', "line 2"),
        ('{"txt": "A fine line of text here."}', 'a string under "text"'),
        ('["A fine line of text here."]', "JSON object"),
    ],
)
def test_unreadable_line_names_file_and_line(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "bad.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl") as caught:
        load_corpus(tmp_path)
    assert complaint in str(caught.value)


def test_damaged_gzip_and_wrong_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 1000)[:-20])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz"):
        load_corpus(tmp_path)
    (tmp_path / "a.jsonl.gz").unlink()
    (tmp_path / "b.txt").write_bytes("Ein Satz mit Umlauten: äöü und mehr davon.".encode("latin-1"))
    with pytest.raises(DataError, match=r"b\.txt.*UTF-8"):
        load_corpus(tmp_path)


def test_sentences_keeps_prose_and_drops_markup_and_code() -> None:
    text = (
        'A Heading\n*********\n\nThe *first* sentence is `short` but fine.  The "second" one follows\nit on two '
        "lines here.\n\n   >>> x = foo(1)\n   2\n\nHe said<br /><br />It was a very good film indeed. Yes."
    )
    assert sentences(text) == [
        "The first sentence is short but fine.",
        "The second one follows it on two lines here.",
        "It was a very good film indeed.",
    ]
