"""A dict whose values are read when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class LazyDict(dict[str, T]):
    """A dict with known keys, each value of which is loaded once, when it is first asked for."""

    def __init__(self, names: Iterable[str], load: Callable[[str], T]) -> None:
        super().__init__()
        self._names, self._load = dict.fromkeys(names), load

    def __missing__(self, name: str) -> T:
        if name not in self._names:
            raise KeyError(name)
        value = self[name] = self._load(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default where there is none of that name."""
        return self[name] if name in self._names else default

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __eq__(self, other: object) -> bool:
        return dict(self.items()) == (dict(other.items()) if isinstance(other, LazyDict) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"<{len(self)} of {', '.join(self._names)}>"

    def keys(self) -> Any:
        """Return the names."""
        return self._names.keys()

    def values(self) -> Any:
        """Return all values; this loads them."""
        return [self[name] for name in self._names]

    def items(self) -> Any:
        """Return names and values; this loads them."""
        return [(name, self[name]) for name in self._names]
