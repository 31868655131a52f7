"""Read checked values out of a parsed TOML table; every error names file, key, what is allowed and what came."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from l0compile.errors import ConfigError

_T = TypeVar("_T")
_S = TypeVar("_S", bound=str)
_REQUIRED: Any = object()


class Table:
    """One table of a TOML file. Keys are taken one by one; `done` then refuses any that nobody asked for."""

    def __init__(self, file: str, path: str, data: Mapping[str, Any]) -> None:
        self.file, self.path, self._data = file, path, data
        self._known: list[str] = []

    def error(self, key: str, expected: str, got: object) -> ConfigError:
        """The error for a bad value, to be raised by the caller. key: empty for the table as a whole."""
        where = f"{self.path}{key}" if key else self.path.rstrip(".")
        return ConfigError(f"{self.file}: {where}: expected {expected}, got {got!r}")

    def number(self, key: str, low: float, high: float, default: float = _REQUIRED) -> float:
        """A number in [low, high]."""
        value = self._take(key, default, f"a number from {low:g} to {high:g}")
        if not _is_number(value) or not low <= value <= high:
            raise self.error(key, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def integer(self, key: str, low: int, high: int, default: int = _REQUIRED) -> int:
        """An integer in [low, high]."""
        value = self._take(key, default, f"an integer from {low} to {high}")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"an integer from {low} to {high}", value)
        return value

    def choice(self, key: str, allowed: Collection[_S], default: _S = _REQUIRED) -> _S:
        """One of some words."""
        value = self._take(key, default, f"one of {', '.join(allowed)}")
        if value not in allowed:
            raise self.error(key, f"one of {', '.join(allowed)}", value)
        found: _S = value
        return found

    def text(self, key: str) -> str:
        """A non-empty string."""
        value = self._take(key, _REQUIRED, "a non-empty string")
        if not isinstance(value, str) or not value:
            raise self.error(key, "a non-empty string", value)
        return value

    def value(self, key: str, expected: str, read: Callable[[Any], _T | None]) -> _T:
        """What `read` makes of the key's value; `read` returns None for one that is not what is `expected`."""
        value = self._take(key, _REQUIRED, expected)
        found = read(value)
        if found is None:
            raise self.error(key, expected, value)
        return found

    def items(
        self, key: str, expected: str, read: Callable[[Any], _T | None], default: list[Any] = _REQUIRED
    ) -> tuple[_T, ...]:
        """A list whose elements `read` accepts; `read` returns None for one that is not what is `expected`."""
        value = self._take(key, default, f"a list of {expected}")
        found = [read(item) for item in value] if isinstance(value, list) else [None]
        if any(item is None for item in found):
            raise self.error(key, f"a list of {expected}", value)
        return tuple(item for item in found if item is not None)

    def table(self, key: str) -> "Table":
        """A sub-table; empty where the file has none."""
        value = self._take(key, {}, "a table")
        if not isinstance(value, dict):
            raise self.error(key, "a table", value)
        return Table(self.file, f"{self.path}{key}.", value)

    def tables(self, key: str) -> list["Table"]:
        """A list of tables, `[[key]]` in the file; at least one."""
        value = self._take(key, [], f"at least one [[{key}]] table")
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.error(key, f"at least one [[{key}]] table", value)
        return [Table(self.file, f"{self.path}{key}[{place}].", item) for place, item in enumerate(value)]

    def rest(self) -> dict[str, Any]:
        """Every key that nobody has taken yet; they count as taken then."""
        found = {key: value for key, value in self._data.items() if key not in self._known}
        self._known += found
        return found

    def has(self, key: str) -> bool:
        """Whether the file gives this key."""
        return key in self._data

    def done(self) -> None:
        """Raise ConfigError if a key is left that nobody took."""
        for key, value in self._data.items():
            if key not in self._known:
                raise self.error(key, f"one of the keys {', '.join(sorted(self._known))}", {key: value})

    def _take(self, key: str, default: Any, expected: str) -> Any:
        self._known.append(key)
        if key not in self._data and default is _REQUIRED:
            raise ConfigError(f"{self.file}: {self.path}{key}: is missing; expected {expected}")
        return self._data.get(key, default)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def pair(value: Any) -> tuple[float, float] | None:
    """Two ordered numbers in (0, 1] from a list, else None."""
    ok = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
    return (
        (float(value[0]), float(value[1])) if ok and 0 <= value[0] <= value[1] <= 1 and value[1] > 0 else None
    )


def shape(value: Any) -> tuple[int, int] | None:
    """(rows, columns) from text such as "4x1", edges from 1 to 256, else None."""
    parts = value.split("x") if isinstance(value, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
        return None
    rows, cols = map(int, parts)
    return (rows, cols) if 1 <= rows <= 256 and 1 <= cols <= 256 else None


def word(value: Any) -> str | None:
    """A non-empty string, else None."""
    return value if isinstance(value, str) and value else None
