"""Columns that stay in the file: they give what the columns in memory give, a stretch at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from provml_hpc.errors import FormatError, StateError
from provml_hpc.storage import reader
from provml_hpc.storage.columns import STRETCH, StoredColumn
from provml_hpc.storage.log_format import COMMIT_ROW
from provml_hpc.storage.tables import TablesFile, write_file
from tests.unit.storage import graphs

NO_COMMITS = np.zeros(0, COMMIT_ROW)


def _plain(values: Any) -> list[Any]:
    return list(values if isinstance(values, list) else np.asarray(values).tolist())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file of some samples and records."""
    table, _ = graphs.samples("training", 1, ("loss",), 100)
    path = tmp_path / "a.h5"
    write_file(path, graphs.graph(table), NO_COMMITS)
    return path


def test_every_column_is_the_same_in_any_stretch(path: Path) -> None:
    with reader.open(path) as file:
        one, other = file.graph, file.stored_graph
        for mine, theirs in ((one.nodes, other.nodes), (one.relations, other.relations)):
            assert set(mine) == set(theirs)
            for name in mine:
                assert len(mine[name]) == len(theirs[name])
                for column, values in mine[name].columns.items():
                    stored: Any = theirs[name].columns[column]
                    whole = _plain(values)
                    assert repr(_plain(stored[:])) == repr(whole)
                    # A series knows where its file is now: such a table is read as a whole.
                    assert (name == "MetricSeries") != isinstance(stored, StoredColumn)
                    if isinstance(stored, StoredColumn):
                        assert repr(list(stored)) == repr(whole)
                    for start, stop in ((0, 1), (1, 3), (2, 2), (0, 10**9)):
                        assert repr(_plain(stored[start:stop])) == repr(whole[start:stop])
                assert repr([*theirs[name].rows()]) == repr([*mine[name].rows()])


def test_going_through_a_column_reads_each_row_once() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> list[str]:
        asked.append((start, stop))
        return [str(at) for at in range(start, stop)]

    rows = 2 * STRETCH + 5
    column = StoredColumn(rows, read)
    found = [text for start in range(0, rows, 1000) for text in column[start : start + 1000]]
    assert found == [str(at) for at in range(rows)]
    # What straddles two stretches is read with the second.
    assert sum(stop - start for start, stop in asked) < 1.3 * rows
    assert max(stop - start for start, stop in asked) <= STRETCH
    assert (column[7], column[-1], column[3:9:2]) == ("7", str(rows - 1), ["3", "5", "7"])
    assert column[::-1][:2] == [str(rows - 1), str(rows - 2)]
    with pytest.raises(IndexError):
        column[rows]


def test_a_column_that_an_older_file_lacks_is_absent_in_every_row(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        [name] = [one for one in file["records"] if "outcome" in file["records"][one]][:1]
        del file["records"][name]["outcome"], file["records"][name]["start_ns"]
    with reader.open(path) as file:
        table, stored = file.graph.nodes[name], file.stored_graph.nodes[name]
        for column in ("outcome", "start_ns"):
            assert _plain(stored.columns[column][:]) == _plain(table.columns[column])


def test_damage_found_on_the_way_is_a_format_error_and_a_closed_file_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("bad chunk")

    with TablesFile(path) as file:
        graph = file.graph(stored=True)
        name = next(iter(graph.nodes))
        column = graph.nodes[name].columns["uuid"]
        with monkeypatch.context() as patch:
            patch.setattr("provml_hpc.storage.columns.read_column", fail)
            with pytest.raises(FormatError, match=r"damaged \(bad chunk\)"):
                column[0:1]
        assert column[0:1]
        other = graph.nodes[name].columns["id"]
    with pytest.raises(StateError, match="was closed"):
        other[0:1]
