"""Turn a user's parameter value into a type and a text, and back.

=========== ============================================== =======================================================
type        text                                           from
=========== ============================================== =======================================================
``text``    the text, cleaned (`clean_text`)               str, bytes in UTF-8, paths, dates, times of day, uuids,
                                                           fractions, classes and functions (their qualified name)
``integer`` decimal digits                                 int
``real``    shortest digits that give the float64 back,    float, Decimal (its own digits), timedelta (seconds)
            or ``NaN``, ``INF``, ``-INF``
``boolean`` ``true`` or ``false``                          bool
``none``    ``None``                                       None, pandas' NaT
``json``    JSON with sorted keys, no blanks, non-ASCII    lists, tuples, sets (sorted), mappings, dataclasses,
            as it is                                       small arrays, complex numbers, bytes (``{"hex": ...}``)
``time``    ISO 8601                                       datetime, numpy's datetime64
=========== ============================================== =======================================================

Scalars of numpy and tensors of one value count as the Python number they hold; an enum as its value where that is
plain, else as its name. Inside JSON, what is not a finite number is the text ``"NaN"``, ``"INF"`` or ``"-INF"``, since
JSON has no such numbers; times, paths and the like are their texts, and so are numbers of more than 4,200 digits, which
no reader takes. numpy is never imported here.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import os
import re
import sys
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, TypeAlias, cast

from provml_hpc.errors import ProvMLError

ValueType: TypeAlias = Literal["text", "integer", "real", "boolean", "none", "json", "time"]
Pair: TypeAlias = tuple[ValueType, str]

MAX_DEPTH = 32
MAX_BYTES = 2**20
"""Longest text of one value, in bytes of UTF-8."""
MAX_VALUES = 100_000
"""Most values that one mapping is flattened into."""

_PLAIN = (str, int, float, bool, type(None))
_SIMPLE = (str, int, float, bytes, bytearray, os.PathLike, enum.Enum, datetime.date, datetime.time, datetime.timedelta)
_NOT_FINITE = {"nan": "NaN", "inf": "INF", "-inf": "-INF"}
# From here on Python refuses to turn an int into decimal digits by itself.
_LONG_BITS = 14_000


class UnrecordableError(ProvMLError, ValueError):
    """A value has no form in which it could be recorded; the message names the value's dotted path."""


def normalise(value: Any, name: str = "value") -> Pair:
    """Give the type and the text of a value.

    Parameters
    ----------
    value
        Anything of the table above.
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
        value = _unwrap(value, name)
        if _is_compound(value):
            text = _dump(_tree(value, name, ()))
            return _bounded("json", text, name)
        return _bounded(*_scalar(value, name), name)
    except UnrecordableError:
        raise
    except RecursionError:
        raise UnrecordableError(f"{name} is nested too deeply; record a summary of it") from None
    except Exception as error:  # a foreign object's own code ran, and may raise anything
        raise UnrecordableError(
            f"{name}: {type(value).__name__} cannot be read as a value ({type(error).__name__}: {error}); "
            "convert it to a plain one"
        ) from error


def flatten(
    mapping: Any, *, refuse: Callable[[str, UnrecordableError], None] | None = None
) -> Iterator[tuple[str, ValueType, str]]:
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


def decode(kind: str, text: str) -> Any:
    """Give the Python value of a type and a text.

    Raises
    ------
    ValueError
        The text does not fit the type, or the type is unknown.

    Examples
    --------
    >>> decode("integer", "12"), decode("real", "INF"), decode("json", "[1,2]")
    (12, inf, [1, 2])
    """
    if kind == "text":
        return text
    if kind == "integer":
        return int(text) if len(text) < 4000 else int(decimal.Decimal(text))
    if kind == "real":
        return float(text)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError(f"{text!r} is not a boolean; it is written true or false")
        return text == "true"
    if kind == "none":
        return None
    if kind == "json":
        return json.loads(text)
    if kind == "time":
        # numpy's times have more digits, and the oldest supported Python reads neither those nor a final Z.
        text = re.sub(r"(\.\d{6})\d+", r"\1", text.removesuffix("Z") + ("+00:00" if text.endswith("Z") else ""))
        return datetime.datetime.fromisoformat(text)
    raise ValueError(f"{kind!r} is not a type of value; a later release may have written it")


def clean_text(text: str) -> str:
    r"""Make a text one that files can hold, changing as little as possible.

    Lone surrogates, which stand for the undecodable bytes of a file name, are written out (``\udcff``); a zero
    character becomes U+FFFD. All else is kept.
    """
    text = str.__str__(text)
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


class _Flattener:
    """One walk over a nested mapping."""

    def __init__(self, refuse: Callable[[str, UnrecordableError], None] | None) -> None:
        self._refuse = refuse
        self._names: set[str] = set()

    def entries(
        self, fields: Mapping[Any, Any], prefix: str, above: tuple[int, ...]
    ) -> Iterator[tuple[str, ValueType, str]]:
        for key, value in fields.items():
            try:
                name = prefix + _key(key, prefix or "the mapping")
            except UnrecordableError as error:
                self._refused(prefix or "the mapping", error)
                continue
            yield from self._entry(value, name, above)

    def _entry(self, value: Any, name: str, above: tuple[int, ...]) -> Iterator[tuple[str, ValueType, str]]:
        try:
            if len(self._names) >= MAX_VALUES:
                raise UnrecordableError(f"{name} comes after {MAX_VALUES} other values; record a file of them instead")
            value = _unwrap(value, name)
            fields = _fields(value)
            items = None if fields is not None else _nested_items(value)
            if not fields and items is None:
                kind, text = normalise(value, name)
                if name in self._names:
                    raise UnrecordableError(f"{name} is named twice; rename one of the two")
                self._names.add(name)
                yield name, kind, text
                return
            _check_nesting(value, name, above)
        except UnrecordableError as error:
            self._refused(name, error)
            return
        above = (*above, id(value))
        if fields:
            yield from self.entries(fields, f"{name}.", above)
        for place, item in enumerate(items or ()):
            yield from self._entry(item, f"{name}[{place}]", above)

    def _refused(self, name: str, error: UnrecordableError) -> None:
        if self._refuse is None:
            raise error
        self._refuse(name, error)


def _unwrap(value: Any, name: str) -> Any:
    """Take the plain value out of an enum, a numpy scalar or a 0-d tensor; small arrays become lists."""
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, _PLAIN) else value.name
    if isinstance(value, _SIMPLE) and not hasattr(value, "dtype"):
        return value
    # Duck typing, on the type so that a module or class with such a name is not meant: numpy, PyTorch, JAX, TensorFlow.
    kind = type(value)
    if hasattr(kind, "dtype") and hasattr(kind, "shape") and (hasattr(kind, "item") or hasattr(kind, "tolist")):
        dtype = str(value.dtype)
        if dtype.startswith("datetime64"):
            return _from_datetime64(value, name)
        if dtype.startswith("timedelta64"):
            return (value.astype("timedelta64[ns]").astype("int64") / 1e9).tolist()
        if not tuple(value.shape):
            item = value.item()
            # numpy's long double is its own item.
            return float(item) if type(item) is kind else item
        size = math.prod(value.shape)
        if size > MAX_BYTES // 2:
            raise UnrecordableError(f"{name} is an array of {size} values; record it as a dataset, or a summary of it")
        return value.tolist()
    return value


def _from_datetime64(value: Any, name: str) -> Any:
    if tuple(value.shape):
        if math.prod(value.shape) > MAX_BYTES // 16:
            raise UnrecordableError(f"{name} is a long array of times; record it as a dataset, or a summary of it")
        return value.astype(str).tolist()
    text = str(value)
    return None if text == "NaT" else _Time(text if "T" in text else str(value.astype("datetime64[s]")))


class _Time(str):
    """The text of a time that has no Python datetime."""

    __slots__ = ()


def _is_compound(value: Any) -> bool:
    return _fields(value) is not None or _items(value) is not None or isinstance(value, complex) or _is_raw(value)


def _is_raw(value: Any) -> bool:
    if not isinstance(value, bytes | bytearray):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Give the named values of something that has them, else None."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return cast("Mapping[Any, Any]", value._asdict())
    if isinstance(value, types.SimpleNamespace):
        return vars(value)
    argparse: Any = sys.modules.get("argparse")
    if argparse is not None and isinstance(value, argparse.Namespace):
        return cast("Mapping[Any, Any]", vars(value))
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}
    return None


def _items(value: Any) -> list[Any] | None:
    """Give the items of a list or the like, else None; those of a set in a fixed order."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return None
    if isinstance(value, Set):
        return sorted(value, key=lambda item: (type(item).__name__, _order(item)))
    return list(value) if isinstance(value, Sequence) or type(value).__name__ == "deque" else None


def _order(item: Any) -> tuple[float, str]:
    """Sort numbers by size, the rest by the text they are recorded as."""
    if isinstance(item, int | float) and not isinstance(item, bool) and abs(item) < 2**1000:
        return (float(item), repr(item))
    return (0.0, normalise(item)[1])


def _nested_items(value: Any) -> list[Any] | None:
    """Give the items of a list that holds a mapping at any depth of lists, else None."""
    items = _items(value)
    if items is None or len(items) > MAX_VALUES or not any(_holds_fields(item, 0) for item in items):
        return None
    return items


def _holds_fields(item: Any, depth: int) -> bool:
    if _fields(item) is not None:
        return True
    items = _items(item) if depth < MAX_DEPTH else None
    return items is not None and any(_holds_fields(inner, depth + 1) for inner in items)


def _check_nesting(value: Any, name: str, above: tuple[int, ...]) -> None:
    if id(value) in above:
        raise UnrecordableError(f"{name} contains itself; record a part of it")
    if len(above) >= MAX_DEPTH:
        raise UnrecordableError(f"{name} is nested deeper than {MAX_DEPTH}; record a summary of it")


def _key(key: Any, name: str) -> str:
    key = _unwrap(key, name)
    if isinstance(key, str):
        return clean_text(key)
    if _is_compound(key):
        # A tuple as a key is common (a grid point); its JSON is at least unambiguous.
        return _dump(_tree(key, name, ()))
    return _scalar(key, name)[1]


def _tree(value: Any, name: str, above: tuple[int, ...]) -> Any:
    """Give what `json` writes for a value."""
    value = _unwrap(value, name)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _integer(value, name) if value.bit_length() > _LONG_BITS else int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _real(value)
    if isinstance(value, complex):
        return {"real": _tree(value.real, name, above), "imag": _tree(value.imag, name, above)}
    if _is_raw(value):
        return {"hex": bytes(value).hex()}
    fields = _fields(value)
    items = _items(value) if fields is None else None
    if fields is None and items is None:
        return _scalar(value, name)[1]
    _check_nesting(value, name, above)
    above = (*above, id(value))
    if fields is None:
        return [_tree(item, f"{name}[{place}]", above) for place, item in enumerate(items or ())]
    result: dict[str, Any] = {}
    for key, item in fields.items():
        text = _key(key, name)
        if text in result:
            raise UnrecordableError(f"{name}.{text} is named twice; rename one of the two")
        result[text] = _tree(item, f"{name}.{text}", above)
    return result


def _dump(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _scalar(value: Any, name: str) -> Pair:
    if value is None or (isinstance(value, datetime.datetime) and str(value) == "NaT"):
        return "none", "None"
    if isinstance(value, bool):
        return "boolean", "true" if value else "false"
    if isinstance(value, int):
        return "integer", _integer(value, name)
    if isinstance(value, float):
        return "real", _real(value)
    if isinstance(value, _Time):
        return "time", str.__str__(value)
    if isinstance(value, str):
        return "text", clean_text(value)
    if isinstance(value, bytes | bytearray):
        return "text", clean_text(bytes(value).decode("utf-8"))
    if isinstance(value, datetime.datetime):
        return "time", _time(value)
    if isinstance(value, datetime.date | datetime.time):
        return "text", value.isoformat()
    if isinstance(value, datetime.timedelta):
        return "real", _real(value.total_seconds())
    if isinstance(value, decimal.Decimal):
        return "real", str(value) if value.is_finite() else _real(float(value))
    if isinstance(value, fractions.Fraction | uuid.UUID):
        return "text", str(value)
    if isinstance(value, os.PathLike):
        return "text", clean_text(os.fsdecode(value))
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return "text", clean_text(f"{value.__module__}.{value.__qualname__}".removeprefix("builtins."))
    if "dtype" in type(value).__name__.lower() or type(value).__name__ == "device":
        return "text", clean_text(str(value))  # numpy.dtype, torch.dtype, torch.device
    raise UnrecordableError(
        f"{name} is a {type(value).__name__}, which has no plain value; record its name or its settings"
    )


def _integer(value: int, name: str) -> str:
    bits = value.bit_length()
    if bits > MAX_BYTES * 3.4:
        raise UnrecordableError(f"{name} has too many digits; record a digest of it")
    # Python limits its own conversion to 4,300 digits; the one of Decimal has no such limit.
    return int.__repr__(value) if bits <= _LONG_BITS else format(decimal.Decimal(int(value)), "f")


def _real(value: float) -> str:
    text = float.__repr__(value)
    return _NOT_FINITE.get(text, text)


def _time(value: datetime.datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and offset % datetime.timedelta(minutes=1):
        value = value.astimezone(datetime.timezone.utc)  # ISO 8601 knows no seconds in an offset
    return value.isoformat()


def _bounded(kind: ValueType, text: str, name: str) -> Pair:
    if len(text) > MAX_BYTES or len(text.encode("utf-8")) > MAX_BYTES:
        raise UnrecordableError(f"{name} is longer than {MAX_BYTES} bytes; record it as a file, or a digest of it")
    return kind, text
