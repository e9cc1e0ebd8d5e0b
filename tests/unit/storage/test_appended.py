"""The datasets of a log that grow at their end: what was appended is read back, here and elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provml_hpc.storage.appended import Appended
from provml_hpc.storage.log_format import OPTIONS

ROW = np.dtype([("a", "<u4"), ("b", "<f8")])
READ = """
import h5py, sys
with h5py.File(sys.argv[1], "r", libver="v110", swmr=True) as file:
    sys.stdout.buffer.write(file[sys.argv[2]][:].tobytes())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def writing(path: Path, chunk: int = 16) -> Iterator[tuple[Any, Appended, Appended]]:
    with h5py.File(path, "w", **OPTIONS) as file:
        Appended.create(file, "bytes", np.dtype("u1"), chunk)
        Appended.create(file, "rows", ROW, chunk)
        file.swmr_mode = True
        descriptor = file.id.get_vfd_handle()
        yield (
            file,
            Appended(file, "bytes", descriptor, exact=False),
            Appended(file, "rows", descriptor, exact=True),
        )


def read_elsewhere(path: Path, name: str) -> bytes:
    return subprocess.run([sys.executable, "-c", READ, str(path), name], capture_output=True, check=True).stdout


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=70), max_size=12), st.lists(st.integers(0, 40), max_size=12))
def test_what_was_appended_is_read_back(tmp_path_factory: Any, blocks: list[bytes], counts: list[int]) -> None:
    path = tmp_path_factory.mktemp("appended") / "a.h5"
    rows = np.zeros(sum(counts), ROW)
    rows["a"], rows["b"] = np.arange(len(rows)), np.arange(len(rows)) / 3
    for _, raw, table in writing(path):
        for block in blocks:
            raw.append(memoryview(block))
            raw.flush()
        at = 0
        for count in counts:
            table.append(memoryview(rows[at : at + count].tobytes()))
            at += count
            assert table.rows == at
        table.flush()
    whole = b"".join(blocks)
    with h5py.File(path) as file:
        assert file["rows"].dtype == ROW
        assert file["rows"][:].tolist() == rows.tolist()
        assert len(file["bytes"]) == -(-len(whole) // 16) * 16
        assert file["bytes"][: len(whole)].tobytes() == whole


def test_readers_in_this_process_and_in_others_follow(path: Path) -> None:
    rows = np.zeros(5, ROW)
    for file, _, table in writing(path):
        for number in range(5):
            rows[number] = number, number / 7
            table.append(memoryview(rows[number : number + 1].tobytes()))
            table.flush()
            assert file["rows"][:].tolist() == rows[: number + 1].tolist()
            assert read_elsewhere(path, "rows") == rows[: number + 1].tobytes()


def test_rows_that_were_not_flushed_are_not_seen_elsewhere(path: Path) -> None:
    for _, _, table in writing(path):
        table.append(memoryview(np.zeros(1, ROW).tobytes()))
        table.flush()
        table.append(memoryview(np.zeros(1, ROW).tobytes()))
        assert len(read_elsewhere(path, "rows")) == ROW.itemsize


def test_a_write_that_is_cut_short_is_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: whole(descriptor, data[:3], at))
    for file, raw, _ in writing(path):
        raw.append(memoryview(bytes(range(100))))
        assert bytes(file["bytes"][:100]) == bytes(range(100))
