"""Values with parts: as JSON, or each part under its dotted name."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias, cast

from provml_hpc.values.scalars import (
    DIGITS_BITS,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_VALUES,
    Pair,
    UnrecordableError,
    ValueType,
    clean_text,
    integer,
    is_raw,
    real,
    scalar,
    unwrap,
)

Entry: TypeAlias = tuple[str, ValueType, str]

# Each part of a JSON text takes two characters at least.
_MAX_PARTS = MAX_BYTES // 2


def normalise(value: Any, name: str = "value") -> Pair:
    """Give the type and the text of a value.

    Parameters
    ----------
    value
        Anything of the table in `provml_hpc.values`.
    name
        The value's dotted path, for the error's message.

    Raises
    ------
    UnrecordableError
        The value is of no kind that can be recorded, contains itself, is nested deeper than 32, or longer than 1 MiB.

    Examples
    --------
    >>> normalise(0.1), normalise({"b": (1, None), "a": True})
    (('real', '0.1'), ('json', '{"a":true,"b":[1,null]}'))
    """
    try:
        value = unwrap(value, name)
        if _is_compound(value):
            return _bounded("json", _Tree().text(value, name), name)
        return _bounded(*scalar(value, name), name)
    except Exception as error:  # a foreign object's own code ran, and may raise anything
        raise _unrecordable(value, name, error) from None


def flatten(mapping: Any, *, refuse: Callable[[str, UnrecordableError], None] | None = None) -> Iterator[Entry]:
    """Give each value of a nested mapping under its dotted name.

    Mappings, dataclasses, named tuples and namespaces are entered, and so are lists that hold one
    (``layers[0].units``). Other lists are one value. An empty mapping is the value ``{}``.

    Parameters
    ----------
    mapping
        A mapping, dataclass, named tuple or namespace.
    refuse
        Called with the dotted name and the error for each value that cannot be recorded; the others go on. Without it
        the error is raised.

    Raises
    ------
    UnrecordableError
        A value cannot be recorded and `refuse` is not given, or `mapping` is not one.

    Examples
    --------
    >>> list(flatten({"opt": {"lr": 0.1}, "layers": [{"units": 8}]}))
    [('opt.lr', 'real', '0.1'), ('layers[0].units', 'integer', '8')]
    """
    fields = _fields(mapping)
    if fields is None:
        raise UnrecordableError(f"{type(mapping).__name__} has no named values; give a mapping from names to values")
    return _Flattener(refuse).entries(fields, "", (id(mapping),))


class _Flattener:
    """One walk over a nested mapping."""

    def __init__(self, refuse: Callable[[str, UnrecordableError], None] | None) -> None:
        self._refuse = refuse
        self._names: set[str] = set()
        self._is_full = False

    def entries(self, fields: Mapping[Any, Any], prefix: str, above: tuple[int, ...]) -> Iterator[Entry]:
        place = prefix.removesuffix(".") or "the mapping"
        try:
            keys = list(fields)
        except Exception as error:  # a foreign mapping's own code
            self._refused(place, _unrecordable(fields, place, error))
            return
        for key in keys:
            name = place
            try:
                name = prefix + _key(key, place)
                value = fields[key]
            except Exception as error:  # configurations compute or check a value when it is read
                self._refused(name, _unrecordable(key, name, error))
                continue
            yield from self._entry(value, name, above)

    def _entry(self, value: Any, name: str, above: tuple[int, ...]) -> Iterator[Entry]:
        if self._is_full:
            return
        try:
            value = unwrap(value, name)
            fields = _fields(value)
            items = None if fields is not None else _nested_items(value, name)
            if not fields and items is None:
                entry = (name, *normalise(value, name))
                self._take(name)
                yield entry
                return
            _check_nesting(value, name, above)
        except Exception as error:  # as in normalise
            self._refused(name, _unrecordable(value, name, error))
            return
        above = (*above, id(value))
        if fields:
            yield from self.entries(fields, f"{name}.", above)
        for place, item in enumerate(items or ()):
            yield from self._entry(item, f"{name}[{place}]", above)

    def _take(self, name: str) -> None:
        if name in self._names:
            raise UnrecordableError(f"{name} is named twice; rename one of the two")
        if len(self._names) >= MAX_VALUES:
            self._is_full = True
            raise UnrecordableError(f"{name} and what follows come after {MAX_VALUES} values; record them as a file")
        self._names.add(name)

    def _refused(self, name: str, error: UnrecordableError) -> None:
        if self._refuse is None:
            raise error
        self._refuse(name, error)


class _Tree:
    """Makes of one value what `json` writes, and counts the parts: a small object can hold itself a billion times."""

    def __init__(self) -> None:
        self._parts = 0

    def text(self, value: Any, name: str) -> str:
        """Give the JSON text."""
        return json.dumps(
            self.make(value, name, ()), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
        )

    def make(self, value: Any, name: str, above: tuple[int, ...]) -> Any:
        """Give what `json` takes."""
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise UnrecordableError(f"{name} is part of a value of too many parts; record it as a file, or a summary")
        value = unwrap(value, name)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return integer(value, name) if value.bit_length() > DIGITS_BITS else int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else real(value)
        if isinstance(value, complex):
            return {"real": self.make(value.real, name, above), "imag": self.make(value.imag, name, above)}
        if is_raw(value):
            return {"hex": bytes(value).hex()}
        fields = _fields(value)
        if fields is None and not _is_list(value):
            return scalar(value, name)[1]
        _check_nesting(value, name, above)
        above = (*above, id(value))
        if fields is None:
            return [self.make(item, f"{name}[{place}]", above) for place, item in enumerate(_items(value, name))]
        result: dict[str, Any] = {}
        for key, item in fields.items():
            text = _key(key, name)
            if text in result:
                raise UnrecordableError(f"{name}.{text} is named twice; rename one of the two")
            result[text] = self.make(item, f"{name}.{text}", above)
        return result


def _unrecordable(value: Any, name: str, error: Exception) -> UnrecordableError:
    if isinstance(error, UnrecordableError):
        return error
    if isinstance(error, RecursionError):
        return UnrecordableError(f"{name} is nested too deeply; record a summary of it")
    return UnrecordableError(
        f"{name}: {type(value).__name__} cannot be read as a value ({type(error).__name__}: {error}); "
        "convert it to a plain one"
    )


def _is_compound(value: Any) -> bool:
    return _fields(value) is not None or _is_list(value) or isinstance(value, complex) or is_raw(value)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Give the named values of something that has them, else None."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return cast("Mapping[Any, Any]", value._asdict())
    argparse: Any = sys.modules.get("argparse")
    if isinstance(value, types.SimpleNamespace) or (argparse is not None and isinstance(value, argparse.Namespace)):
        return cast("Mapping[Any, Any]", vars(value))
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}
    return None


def _is_list(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray | memoryview):
        return False
    return isinstance(value, Sequence | Set) or type(value).__name__ == "deque"


def _items(value: Any, name: str) -> list[Any]:
    """Give the items of a list or the like, those of a set in a fixed order."""
    if len(value) > _MAX_PARTS:  # before a range of a billion becomes a list
        raise UnrecordableError(f"{name} has {len(value)} items; record it as a dataset, or a summary of it")
    if isinstance(value, Set):
        return sorted(value, key=lambda item: (type(item).__name__, _order(item)))
    return list(value)


def _order(item: Any) -> tuple[float, str]:
    """Sort numbers by size, the rest by the text they are recorded as."""
    if isinstance(item, int | float) and not isinstance(item, bool) and abs(item) < 2**1000:
        return (float(item), repr(item))
    return (0.0, normalise(item)[1])


def _nested_items(value: Any, name: str) -> list[Any] | None:
    """Give the items of a list that holds a mapping at any depth of lists, else None."""
    if not _is_list(value) or isinstance(value, Set | range) or len(value) > MAX_VALUES:
        return None
    items = _items(value, name)
    return items if _holds_fields(items, set(), 0) else None


def _holds_fields(items: Sequence[Any], seen: set[int], depth: int) -> bool:
    """Tell whether a mapping is among the items or in a list among them; each list is looked into once."""
    for item in items:
        if _fields(item) is not None:
            return True
        if isinstance(item, list | tuple) and id(item) not in seen and depth < MAX_DEPTH:
            seen.add(id(item))
            if _holds_fields(item, seen, depth + 1):
                return True
    return False


def _check_nesting(value: Any, name: str, above: tuple[int, ...]) -> None:
    if id(value) in above:
        raise UnrecordableError(f"{name} contains itself; record a part of it")
    if len(above) >= MAX_DEPTH:
        raise UnrecordableError(f"{name} is nested deeper than {MAX_DEPTH}; record a summary of it")


def _key(key: Any, name: str) -> str:
    key = unwrap(key, name)
    if isinstance(key, str):
        return clean_text(key)
    if _is_compound(key):
        # A tuple as a key is common (a grid point); its JSON is at least unambiguous.
        return _Tree().text(key, name)
    return scalar(key, name)[1]


def _bounded(kind: ValueType, text: str, name: str) -> Pair:
    if len(text) > MAX_BYTES or len(text.encode("utf-8")) > MAX_BYTES:
        raise UnrecordableError(f"{name} is longer than {MAX_BYTES} bytes; record it as a file, or a digest of it")
    return kind, text
