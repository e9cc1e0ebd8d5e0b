"""Values without parts: their types, their texts, and the way back."""

from __future__ import annotations

import datetime
import enum
import json
import math
import os
import re
import sys
import types
from typing import Any, Literal, TypeAlias

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
DIGITS_BITS = 14_000
"""Size from which on Python refuses to turn an int into decimal digits by itself."""
_INTEGER_BITS = 2**18


class UnrecordableError(ProvMLError, ValueError):
    """A value has no form in which it could be recorded; the message names the value's dotted path."""


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
        if len(text) < 4000:
            return int(text)
        import decimal

        return int(decimal.Decimal(text))
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


class Time(str):
    """The text of a time that has no Python datetime."""

    __slots__ = ()


def unwrap(value: Any, name: str) -> Any:
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
    return None if text == "NaT" else Time(text if text.count(":") == 2 else str(value.astype("datetime64[s]")))


def is_raw(value: Any) -> bool:
    """Tell whether these are bytes that are no text."""
    if not isinstance(value, bytes | bytearray):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def scalar(value: Any, name: str) -> Pair:
    """Give the type and the text of a value without parts."""
    if value is None or (isinstance(value, datetime.datetime) and str(value) == "NaT"):
        return "none", "None"
    if isinstance(value, bool):
        return "boolean", "true" if value else "false"
    if isinstance(value, int):
        return "integer", integer(value, name)
    if isinstance(value, float):
        return "real", real(value)
    if isinstance(value, Time):
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
        return "real", real(value.total_seconds())
    if _is_a(value, "decimal", "Decimal"):
        return "real", str(value) if value.is_finite() else real(float(value))
    if _is_a(value, "uuid", "UUID") or _is_a(value, "fractions", "Fraction"):
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


def integer(value: int, name: str) -> str:
    """Write the decimal digits of a number of any size up to 79,000 digits."""
    bits = value.bit_length()
    if bits > _INTEGER_BITS:  # 79,000 digits; the time to write them grows with the square
        raise UnrecordableError(f"{name} has too many digits; record a digest of it")
    # Python limits its own conversion to 4,300 digits; the one of Decimal has no such limit.
    if bits <= DIGITS_BITS:
        return int.__repr__(value)
    import decimal

    return format(decimal.Decimal(int(value)), "f")


def _is_a(value: Any, module: str, name: str) -> bool:
    """Tell whether a value is of a class whose module need not be there: nobody has one who did not import it."""
    home = sys.modules.get(module)
    return home is not None and isinstance(value, getattr(home, name))


def real(value: float) -> str:
    """Write a float so that the same one is read back, in the spelling of XML Schema where it is not finite."""
    text = float.__repr__(value)
    return _NOT_FINITE.get(text, text)


def _time(value: datetime.datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and offset % datetime.timedelta(minutes=1):
        value = value.astimezone(datetime.timezone.utc)  # ISO 8601 knows no seconds in an offset
    return value.isoformat()
