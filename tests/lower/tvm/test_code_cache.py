"""Files of machine code: whole or absent, checked when they are read, bounded."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from l0compile.lower.tvm.code_cache import CodeCache, user_cache


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_was_put_is_there(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path)
    assert cache.get(key("a")) is None
    cache.put(key("a"), b"code of a")
    cache.put(key("b"), b"code of b")
    assert cache.get(key("a")) == b"code of a" and CodeCache(tmp_path).get(key("b")) == b"code of b"
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("content", [b"", b"code of", b"Code of a", b"code of a\0"])
def test_a_damaged_file_is_removed_and_made_again(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache = CodeCache(tmp_path)
    cache.put(key("a"), b"code of a")
    files(tmp_path)[0].write_bytes(content)
    assert cache.get(key("a")) is None and not files(tmp_path)
    assert "damaged" in caplog.text
    cache.put(key("a"), b"code of a")
    assert cache.get(key("a")) == b"code of a"


def test_several_writers_of_one_key(tmp_path: Path) -> None:
    def write(number: int) -> bytes | None:
        cache = CodeCache(tmp_path)
        cache.put(key("a"), b"a" * 100_000)
        return cache.get(key("a"))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, range(40))) == {b"a" * 100_000}
    assert len(files(tmp_path)) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path, limit=1000)
    for age, name in enumerate(("new", "older", "oldest")):
        cache.put(key(name), name.encode().ljust(300, b"."))
        for path in files(tmp_path):
            if path.name.startswith(key(name)):
                os.utime(path, (time.time() - 100 * age - 100,) * 2)
    assert cache.get(key("oldest")) is not None  # used now
    cache.put(key("another"), b"x" * 300)
    cache.clean()
    assert cache.get(key("older")) is None and cache.get(key("new")) is None
    assert cache.get(key("oldest")) is not None and cache.get(key("another")) is not None


def test_a_folder_below_its_limit_keeps_everything(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path, limit=1000)
    for number in range(10):
        cache.put(key(str(number)), b"x" * 100)
    cache.clean()
    assert len(files(tmp_path)) == 10


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", "off")
    assert user_cache() is None


def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path))
    assert user_cache() == CodeCache(tmp_path / "code")
    (tmp_path / "code").chmod(0o777)
    assert user_cache() is None
    assert f"chmod 700 {tmp_path / 'code'}" in caplog.text


def test_a_folder_that_cannot_be_made_is_no_fault_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path / "file"))
    assert user_cache() is None
    assert "no machine code is kept" in caplog.text


def test_a_full_disk_costs_the_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache = CodeCache(tmp_path)
    cache.put(key("a"), b"code of a")
    assert cache.get(key("a")) is None and "not kept" in caplog.text and "No space left" in caplog.text


def test_what_cannot_be_read_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = CodeCache(tmp_path)
    cache.put(key("a"), b"code of a")
    (file,) = files(tmp_path)
    file.unlink()
    file.mkdir()
    assert cache.get(key("a")) is None and "cannot be read" in caplog.text
