"""Parameter values: what each becomes, and that it comes back."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import subprocess
import sys
import types
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc import values
from provml_hpc.values import UnrecordableError, clean_text, decode, flatten, normalise
from provml_hpc.values import nested as nested_module

UTC = datetime.timezone.utc


def name_of(value: Any) -> str:
    """Return a test's name that every process spells alike: a `repr` may hold an address, or a set in any order."""
    return value[1] if isinstance(value, tuple) and type(value) is tuple else type(value).__name__


class Colour(enum.Enum):
    RED = "red"
    MIX = ("red", "blue")


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Optimiser:
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)


class Tensor:
    """Looks like a tensor of one value: PyTorch's has these names."""

    dtype = "float32"

    def __init__(self, value: Any, shape: tuple[int, ...] = ()) -> None:
        self.value = value
        self._shape = shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def item(self) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def tolist(self) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\nb\t'\"", ("text", "a\nb\t'\"")),
        ("", ("text", "")),
        (b"caf\xc3\xa9", ("text", "café")),
        (b"\xff\x00", ("json", '{"hex":"ff00"}')),
        (True, ("boolean", "true")),
        (0, ("integer", "0")),
        (-(10**30), ("integer", "-1" + "0" * 30)),
        (0.1, ("real", "0.1")),
        (-0.0, ("real", "-0.0")),
        (1e-320, ("real", "1e-320")),
        (math.nan, ("real", "NaN")),
        (math.inf, ("real", "INF")),
        (-math.inf, ("real", "-INF")),
        (None, ("none", "None")),
        (1 + 2j, ("json", '{"imag":2.0,"real":1.0}')),
        (decimal.Decimal("1.10"), ("real", "1.10")),
        (decimal.Decimal("-Infinity"), ("real", "-INF")),
        (fractions.Fraction(1, 3), ("text", "1/3")),
        (uuid.UUID(int=1), ("text", "00000000-0000-0000-0000-000000000001")),
        (PurePosixPath("data/x.h5"), ("text", "data/x.h5")),
        (Colour.RED, ("text", "red")),
        (Colour.MIX, ("text", "MIX")),
        (Level.LOW, ("integer", "1")),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), ("time", "2026-01-02T03:04:05.000006")),
        (datetime.datetime(2026, 1, 2, tzinfo=UTC), ("time", "2026-01-02T00:00:00+00:00")),
        (datetime.date(2026, 1, 2), ("text", "2026-01-02")),
        (datetime.time(1, 2), ("text", "01:02:00")),
        (datetime.timedelta(seconds=1.5), ("real", "1.5")),
        ([], ("json", "[]")),
        ({}, ("json", "{}")),
        ((1, "é", None, True, 0.5), ("json", '[1,"é",null,true,0.5]')),
        ({"b": 1, "a": [math.nan, -math.inf]}, ("json", '{"a":["NaN","-INF"],"b":1}')),
        ({1: "a", None: "b", (1, 2): "c"}, ("json", '{"1":"a","None":"b","[1,2]":"c"}')),
        ({3, 1, 20}, ("json", "[1,3,20]")),
        (frozenset({"b", "a", 1, None}), ("json", '[null,1,"a","b"]')),
        (range(3), ("json", "[0,1,2]")),
        (collections.deque([1]), ("json", "[1]")),
        ([Path("x"), Colour.RED, datetime.date(2026, 1, 2)], ("json", '["x","red","2026-01-02"]')),
        (Optimiser(0.1), ("json", '{"betas":[0.9,0.999],"lr":0.1}')),
        (Point(1, 2.0), ("json", '{"x":1,"y":2.0}')),
        (argparse.Namespace(a=1), ("json", '{"a":1}')),
        (types.SimpleNamespace(a=1), ("json", '{"a":1}')),
        (int, ("text", "int")),
        (math.sqrt, ("text", "math.sqrt")),
        (json.dumps, ("text", "json.dumps")),
        (np.float64(0.1), ("real", "0.1")),
        (np.float32(0.1), ("real", "0.10000000149011612")),
        (np.float16(np.nan), ("real", "NaN")),
        (np.longdouble(0.5), ("real", "0.5")),
        (np.int8(-3), ("integer", "-3")),
        (np.uint64(2**64 - 1), ("integer", str(2**64 - 1))),
        (np.bool_(True), ("boolean", "true")),
        (np.str_("x"), ("text", "x")),
        (np.bytes_(b"x"), ("text", "x")),
        (np.complex64(1j), ("json", '{"imag":1.0,"real":0.0}')),
        (np.array(3.5), ("real", "3.5")),
        (np.array([1, 2]), ("json", "[1,2]")),
        (np.array([[1.5], [np.inf]]), ("json", '[[1.5],["INF"]]')),
        (np.datetime64("2026-01-02T03:04:05.123456789"), ("time", "2026-01-02T03:04:05.123456789")),
        (np.datetime64("2026-01-02"), ("time", "2026-01-02T00:00:00")),
        (np.datetime64("2026-01-02T03"), ("time", "2026-01-02T03:00:00")),
        (np.datetime64("NaT", "ns"), ("none", "None")),
        (np.timedelta64(1500, "ms"), ("real", "1.5")),
        (np.array(["2026-01-02"], "M8[D]"), ("json", '["2026-01-02"]')),
        (np.dtype("<f4"), ("text", "float32")),
        (np.float32, ("text", "numpy.float32")),
        (pd.Timestamp("2026-01-02T03:04:05.000000001"), ("time", "2026-01-02T03:04:05.000000001")),
        (pd.NaT, ("none", "None")),
        (pd.Series([1, 2]), ("json", "[1,2]")),
        (Tensor(0.5), ("real", "0.5")),
        (Tensor([0.5], (1,)), ("json", "[0.5]")),
    ],
    ids=name_of,
)
def test_forms(value: Any, expected: tuple[str, str]) -> None:
    assert normalise(value) == expected


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (object(), "object"),
        ([1, [object()]], r"v\[1\]\[0\]"),
        ({"a": {"b": {1j: object()}}}, r"v\.a\.b\."),
        ("x" * (2**20 + 1), "bytes"),
        ("é" * (2**19 + 1), "bytes"),
        (["x" * 1000] * 2000, "bytes"),
        (np.zeros(2**20), "array"),
        (np.array([object()]), "object"),
        ({1: "a", "1": "b"}, "twice"),
        (Tensor(RuntimeError("device lost")), "device lost"),
        pytest.param(1 << (2**22), "digits", id="long"),
        (types.ModuleType("m"), "module"),
    ],
)
def test_what_cannot_be_recorded_names_its_place(value: Any, hint: str) -> None:
    with pytest.raises(UnrecordableError, match=hint) as caught:
        normalise(value, "v")
    assert str(caught.value).startswith("v")
    assert isinstance(caught.value, ValueError)


def test_cycles_and_depth() -> None:
    loop: list[Any] = []
    loop.append({"again": loop})
    with pytest.raises(UnrecordableError, match=r"v\[0\]\.again contains itself"):
        normalise(loop, "v")
    with pytest.raises(UnrecordableError, match="contains itself"):
        list(flatten({"a": loop}))
    deep: list[Any] = []
    for _ in range(31):
        deep = [deep]
    assert normalise(deep)[0] == "json"
    for nested in ([deep], json.loads("[" * 500 + "]" * 500)):
        with pytest.raises(UnrecordableError, match="nested"):
            normalise(nested)
    # The same part twice is no cycle.
    part = {"x": 1}
    assert normalise([part, part]) == ("json", '[{"x":1},{"x":1}]')


def test_a_small_object_of_a_billion_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nested_module, "_MAX_PARTS", 5000)
    monkeypatch.setattr(nested_module, "MAX_VALUES", 1000)
    lists: Any = [1, 2]
    dicts: Any = {"x": 1}
    for _ in range(28):
        lists, dicts = [lists, lists], {"a": dicts, "b": dicts}
    for value in (lists, dicts, range(10**12)):
        with pytest.raises(UnrecordableError, match=r"parts|items"):
            normalise(value)
    bad: list[str] = []
    good = list(
        flatten({"lists": lists, "dicts": dicts, "range": range(10**12)}, refuse=lambda name, _: bad.append(name))
    )
    assert len(good) == 1000
    assert bad[0] == "lists"
    assert len(bad) == 2


def test_foreign_code_that_raises() -> None:
    class Config(collections.UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            if key == "missing":
                raise LookupError("mandatory value")
            return super().__getitem__(key)

    config = Config({"a": 1, "missing": None, "b": {"c": Tensor(RuntimeError("device lost"))}, "d": 2})
    with pytest.raises(UnrecordableError, match="mandatory value"):
        normalise(config)
    bad: list[str] = []
    assert [name for name, _, _ in flatten(config, refuse=lambda name, _: bad.append(name))] == ["a", "d"]
    assert bad == ["missing", "b.c"]


def test_a_hundred_thousand_levels_do_not_crash() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"d": deep}
    with pytest.raises(UnrecordableError):
        normalise(deep)
    with pytest.raises(UnrecordableError):
        list(flatten(deep))
    while deep:  # taken apart by hand: freeing it at once is deep, too
        deep = deep.pop("d")


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(plain)
def test_scalars_come_back(value: Any) -> None:
    kind, text = normalise(value)
    back = decode(kind, text)
    if isinstance(value, str):
        assert back == clean_text(value)
    else:
        assert (type(back), back) == (type(value), value)
        assert math.copysign(1, back or 0) == math.copysign(1, value or 0)


finite = st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(
    st.recursive(
        finite | names,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=20,
    )
)
def test_nested_values_come_back(value: Any) -> None:
    kind, text = normalise([value])
    assert kind == "json"
    assert decode(kind, text) == [value]
    assert json.loads(text, parse_constant=pytest.fail) == [value]


@given(st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones()))
def test_times_come_back(value: datetime.datetime) -> None:
    try:
        kind, text = normalise(value)
    except UnrecordableError:
        # An offset with seconds at the very end of the calendar has no time in UTC.
        assert value.year in (1, 9999)
        return
    assert kind == "time"
    back = decode(kind, text)
    if value.tzinfo is None:
        assert back == value.replace(fold=0)
    else:
        assert back - value.astimezone(UTC) == datetime.timedelta(0)


@pytest.mark.parametrize("digits", [4000, 4300, 4301, 5000, 90_000])
def test_long_integers_come_back(digits: int) -> None:
    value = -(7**digits) // 3
    kind, text = normalise(value)
    assert kind == "integer"
    assert decode(kind, text) == value
    kind, text = normalise([value])
    assert decode("integer", str(decode(kind, text)[0])) == value


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("real", "NaN", math.nan),
        ("real", "-INF", -math.inf),
        ("time", "2026-01-02T03:04:05.123456789Z", datetime.datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)),
        ("none", "None", None),
    ],
)
def test_decode(kind: str, text: str, expected: Any) -> None:
    assert (
        decode(kind, text) == pytest.approx(expected, nan_ok=True) if kind == "real" else decode(kind, text) == expected
    )


@pytest.mark.parametrize(
    ("kind", "text"), [("boolean", "yes"), ("integer", "1.5"), ("json", "{"), ("time", "now"), ("?", "")]
)
def test_decode_refuses(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(kind, text)


@given(st.text(alphabet=st.characters()))
def test_clean_text_is_storable_and_stays(text: str) -> None:
    clean = clean_text(text)
    assert "\0" not in clean
    assert clean.encode("utf-8").decode("utf-8") == clean
    assert clean_text(clean) == clean
    if "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert clean == text


def test_clean_text_by_example() -> None:
    assert clean_text("a\udcffb\0c") == "a\\udcffb\N{REPLACEMENT CHARACTER}c"
    assert clean_text("\x01\x7f\r\n'\"\\" * 2000) == "\x01\x7f\r\n'\"\\" * 2000


class TestFlatten:
    def test_names(self) -> None:
        nested = {
            "lr": 0.1,
            "opt": {"name": "adam", "betas": (0.9, 0.999), "none": {}},
            "layers": [{"units": 8}, {"units": 4, "act": [{"f": 1}]}],
            "mixed": [1, {"x": 2}],
            "grid": [[{"y": 1}], [2]],
            "data": Optimiser(0.2),
            "where": Path("a"),
            3: None,
        }
        assert list(flatten(nested)) == [
            ("lr", "real", "0.1"),
            ("opt.name", "text", "adam"),
            ("opt.betas", "json", "[0.9,0.999]"),
            ("opt.none", "json", "{}"),
            ("layers[0].units", "integer", "8"),
            ("layers[1].units", "integer", "4"),
            ("layers[1].act[0].f", "integer", "1"),
            ("mixed[0]", "integer", "1"),
            ("mixed[1].x", "integer", "2"),
            ("grid[0][0].y", "integer", "1"),
            ("grid[1]", "json", "[2]"),
            ("data.lr", "real", "0.2"),
            ("data.betas", "json", "[0.9,0.999]"),
            ("where", "text", "a"),
            ("3", "none", "None"),
        ]

    @pytest.mark.parametrize("given", [Optimiser(0.1, (1, 2)), argparse.Namespace(lr=0.1, betas=(1, 2))])
    def test_takes_what_has_named_values(self, given: Any) -> None:
        assert list(flatten(given)) == [("lr", "real", "0.1"), ("betas", "json", "[1,2]")]

    @pytest.mark.parametrize("given", [None, 3, "abc", [1], Optimiser])
    def test_refuses_what_has_none(self, given: Any) -> None:
        with pytest.raises(UnrecordableError):
            list(flatten(given))

    def test_the_others_go_on(self) -> None:
        loop: dict[str, Any] = {"z": 1}
        loop["self"] = loop
        bad: list[tuple[str, str]] = []
        mapping = {
            "a": 1,
            "b": {"c": object(), "d": 2},
            "loop": loop,
            object(): 3,
            "e": [{"f": object}, {"g": print}],
            "h": 4,
        }
        good = list(flatten(mapping, refuse=lambda name, error: bad.append((name, str(error)))))
        assert [name for name, _, _ in good] == ["a", "b.d", "loop.z", "e[0].f", "e[1].g", "h"]
        assert [name for name, _ in bad] == ["b.c", "loop.self", "the mapping"]
        with pytest.raises(UnrecordableError, match=r"^b\.c is"):
            list(flatten(mapping))

    def test_one_name_twice_is_refused(self) -> None:
        with pytest.raises(UnrecordableError, match=r"^a\.b is named twice"):
            list(flatten({"a.b": 1, "a": {"b": 2}}))

    def test_too_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nested_module, "MAX_VALUES", 3)
        bad: list[str] = []
        assert len(list(flatten(dict.fromkeys("abcde"), refuse=lambda name, _: bad.append(name)))) == 3
        assert bad == ["d"]


def test_the_module_imports_no_numpy() -> None:
    code = "import sys; import provml_hpc.values as v; v.normalise([1.5, {2}]); assert 'numpy' not in sys.modules"
    root = str(Path(values.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, check=True, timeout=60)
