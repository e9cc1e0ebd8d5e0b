"""What a file says is checked before it is believed: links, external data, sizes, odd types, what is no file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from provml_hpc.errors import FormatError
from provml_hpc.storage import careful, columns, metadata
from provml_hpc.storage.columns import read_column
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.tables import TablesFile, write_file
from tests.unit.storage import graphs
from tests.unit.storage.test_tables import COMMITS

LABEL = "records/TrainingExecution/label"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table, _ = graphs.samples("training", 1, ("loss",), 3)
    write_file(tmp_path / "a.h5", graphs.graph(table), COMMITS)
    return tmp_path / "a.h5"


def _instead(name: str, make: Callable[[Any, str], object]) -> Callable[[Any, Path], object]:
    def spoil(file: Any, folder: Path) -> None:
        # Pipes: whoever opened one would wait for ever.
        os.mkfifo(folder / "secret")
        os.mkfifo(folder / "other.h5")
        del file[name]
        make(file, name)

    return spoil


def _virtual(file: Any, name: str) -> None:
    layout = h5py.VirtualLayout((1,), "S6")
    layout[:] = h5py.VirtualSource("other.h5", "label", (1,))
    file.create_virtual_dataset(name, layout)


ELSEWHERE = {
    "external link": lambda file, name: file.__setitem__(name, h5py.ExternalLink("other.h5", "label")),
    "soft link": lambda file, name: file.__setitem__(name, h5py.SoftLink("/records/Model/label")),
    "external data": lambda file, name: file.create_dataset(name, (1,), "S6", external=[("secret", 0, 6)]),
    "virtual data": _virtual,
}
TOO_LARGE = {
    "a hole": lambda file, name: file.create_dataset(name, (10**9,), "S9", chunks=(1024,), compression="gzip"),
    "a chunk": lambda file, name: file.create_dataset(name, (1,), "S9", chunks=(2**27,), maxshape=(None,)),
    "a filter": lambda file, name: file.create_dataset(name, (1,), "i8", chunks=(1,), scaleoffset=2),
}


@pytest.mark.parametrize("make", [*ELSEWHERE.values(), *TOO_LARGE.values()], ids=[*ELSEWHERE, *TOO_LARGE])
def test_what_leads_elsewhere_or_asks_for_memory_is_refused(
    make: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    with h5py.File(path, "r+") as file:
        _instead(LABEL, make)(file, path.parent)
    with TablesFile(path) as file, pytest.raises(FormatError, match="take another copy"):
        file.table("records", "TrainingExecution")


def test_a_log_with_data_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with h5py.File(tmp_path / "a.h5.partial", "w", libver=("v110", "v110")) as file:
        careful.put_text(file, "format", "provml-hpc")
        careful.put_text(file, "format_kind", "log")
        careful.put_text(file, "format_version", "1.0")
        file.create_dataset("frames", (6,), "u1", external=[(str(tmp_path / "secret"), 0, 6)])
        file.swmr_mode = True
    with pytest.raises(FormatError, match="lies in another file"):
        LogReader(tmp_path / "a.h5.partial")


@pytest.mark.parametrize("reader", [TablesFile, LogReader])
def test_a_pipe_is_not_waited_for(reader: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match=r"no file|no regular file"):
        reader(tmp_path / "pipe")


@pytest.mark.parametrize("value", [np.zeros(3, [("a", "i4")]), h5py.Empty("f"), np.zeros((2, 2)), "text", 1.5])
def test_attributes_of_any_type_are_no_surprise(value: Any, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for name in ("started_ns", "run", "status", "writer"):
            file.attrs[name] = value
    with TablesFile(path) as file:
        assert isinstance(file.run.started_ns, int)
        assert isinstance(file.run.status, str)


def test_text_attributes_come_back_whatever_they_are(path: Path) -> None:
    texts = ["", "é", "x" * 100_000, "a\0b", "\ud800"]
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        for number, text in enumerate(texts):
            careful.put_text(file, f"t{number}", text)
        careful.put_texts(file, "texts", texts)
        careful.put_texts(file, "none", [])
        for number, text in enumerate(texts):
            assert careful.attribute(file, f"t{number}") == careful.clean(text)
        assert careful.attribute(file, "texts") == [careful.clean(text) for text in texts]
        assert careful.attribute(file, "none", []) == []
        assert careful.attribute(file, "nothing", 7) == 7


def test_nothing_lies_in_the_heap_that_has_no_checksum(path: Path) -> None:
    assert b"GCOL" not in path.read_bytes()


@pytest.mark.parametrize("texts", [["a"], [""], ["x" * 300_000, *["y"] * 100], ["é" * 50] * 3000, []])
def test_a_text_column_is_of_fixed_length_unless_that_wastes_room(texts: list[str], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = columns._write_text(file, "c", texts)
        assert read_column(dataset, 0, len(texts)) == texts
        kind = h5py.check_string_dtype(dataset.dtype)
        assert (kind.length is None) == (len(texts) == 101)
    assert (tmp_path / "a.h5").stat().st_size < 500_000


def test_a_file_of_the_older_format_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Format 1.0 had all text of variable length."""
    text = h5py.string_dtype("utf-8")
    monkeypatch.setattr(columns, "_FEW", 0)
    monkeypatch.setattr(columns, "_WASTE", 0)
    monkeypatch.setattr(
        careful, "put_text", lambda thing, name, value: thing.attrs.__setitem__(name, careful.clean(value))
    )
    monkeypatch.setattr(
        careful, "put_texts", lambda thing, name, values: thing.attrs.create(name, np.array(list(values), text))
    )
    table, _ = graphs.samples("training", 1, ("loss",), 3)
    old = path.with_name("old.h5")
    write_file(old, graphs.graph(table), COMMITS)
    assert b"GCOL" in old.read_bytes()
    with TablesFile(path) as new, TablesFile(old) as older:
        assert new.attributes == older.attributes
        for name in (one for one in new.names("records") if one != "MetricSeries"):  # which has the name of its file
            graphs.equal(new.table("records", name), older.table("records", name))
        assert [one.measures for one in new.samples()] == [one.measures for one in older.samples()]


@pytest.mark.parametrize("values", [np.zeros(1), np.zeros(1, np.bool_), np.zeros(1, np.int64)])
def test_a_column_of_another_type_is_refused_where_it_is_read(values: Any, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[LABEL]
        file[LABEL] = values
    with TablesFile(path) as file, pytest.raises(FormatError, match="the column label of TrainingExecution is"):
        file.table("records", "TrainingExecution")


@pytest.mark.parametrize(
    "told",
    [
        {"failures": 5}, {"failures": [1]}, {"dropped": [{"count": "many"}]}, {"cost": {"flush": {"0": "x"}}},
        {"cost": {"flush": {"0": None}}},
        {"ranks": {"a": 1}}, {"attempts": ["1"]}, {"cost": {"flush": 7}}, {"dropped": [{"count": 2**70}]},
    ],
)  # fmt: skip
def test_details_that_are_not_what_they_should_be_are_left_out(told: dict[str, Any], path: Path) -> None:
    with h5py.File(path, "r+") as file:
        careful.put_text(file, "details", json.dumps({"new": [1], "ranks": [0], **told}))
    with TablesFile(path) as file:
        expected = {"new": [1], "ranks": [0]}
        assert file.run.details == {name: value for name, value in expected.items() if name not in told}


@pytest.mark.parametrize("sign", [b"BTHD\0", b"FRHP\0", b"FRHP\0" + bytes(100)])
def test_a_header_that_is_cut_off_by_the_end_of_the_file_is_none(sign: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(bytes(100) + sign)
    metadata.check(path)


@pytest.mark.parametrize("at", [0, 100, (1 << 22) - 20, (1 << 22) + 100, 2 << 22])
def test_an_odd_header_is_found_wherever_it_lies(at: int, tmp_path: Path) -> None:
    path, header = tmp_path / "odd.h5", b"BTHD\0" + bytes(29)  # a tree whose nodes have no size
    path.write_bytes(bytes(at) + header + metadata.checksum(header).to_bytes(4, "little") + bytes(5000))
    with pytest.raises(ValueError, match=f"at byte {at} is not as HDF5"):
        metadata.check(path)
