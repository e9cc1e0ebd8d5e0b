"""The files of a run that several ranks wrote, as far as they say so of themselves: also where what they say is odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

import provml_hpc as provml
from provml_hpc.storage.place import count_of, hidden_of, part_of, partial_of, parts_of
from provml_hpc.storage.recover import outputs_of
from provml_hpc.storage.run_file import RunFiles, without_parts


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes the closed file of a run of one process, and gives it attributes."""

    def make(name: str, **attributes: Any) -> Path:
        path = tmp_path / name
        with provml.init("run", phase="learning", output=path, comm="self") as job:
            job.log(0, loss=1.0)
        with h5py.File(path, "r+") as file:
            for key, value in attributes.items():
                file.attrs[key] = value
        return path

    return make


def test_where_parts_lie(tmp_path: Path) -> None:
    output = tmp_path / "a.b.h5"
    assert part_of(output, 0) == output
    assert part_of(f"{output}.partial", 3) == tmp_path / "a.b-part3.h5"
    assert parts_of(output) == []
    part_of(output, 1).touch()
    partial_of(part_of(output, 2)).touch()
    part_of(output, 4).touch()
    assert parts_of(output) == [part_of(output, 1), part_of(output, 2)]
    assert parts_of(output, 3) == [part_of(output, number) for number in (1, 2)]
    assert parts_of(output, 4) == [part_of(output, number) for number in (1, 2, 4)]
    hidden_of(part_of(output, 3)).mkdir()  # there is nothing of it but journals
    assert outputs_of(output) == [part_of(output, number) for number in range(5)]


@pytest.mark.parametrize("odd", ["7", -1, 2**40, 1.5, b"1", [1, 2], True])
def test_odd_numbers_are_none(odd: Any) -> None:
    assert count_of(odd, 1) == 1


@pytest.mark.parametrize("odd", ["many", -3, 2**40, 2.5, [1, 2]])
def test_a_file_that_says_odd_things_of_its_parts_is_read_as_it_is(odd: Any, run: Callable[..., Path]) -> None:
    path = run("odd.h5", part=odd, parts=odd)
    with provml.open(path) as file:
        assert (file.status, file.damage, file.paths) == ("finished", [], [path])
        assert len(file.samples("loss")) == 1


def test_a_file_that_claims_very_many_parts_says_so_in_one_sentence(run: Callable[..., Path]) -> None:
    path = run("many.h5", parts=60_000)
    with provml.open(path) as file:
        assert file.status == "incomplete"
        (damage,) = file.damage
        assert "many-part1.h5, and 59998 more parts of the run, are not there" in damage


def test_only_a_part_of_the_same_run_is_read_with_it(run: Callable[..., Path]) -> None:
    path = run("mine.h5", parts=2)
    with provml.open(path) as file:
        uuid = file.run.uuid
    run("mine-part1.h5", part=1, parts=2)
    with provml.open(path) as file:
        assert file.paths == [path]
        assert "mine-part1.h5 is not there" in file.damage[0]
    run("other-part1.h5", run=uuid)  # of the run, and not a part
    (path.parent / "mine-part1.h5").unlink()
    (path.parent / "other-part1.h5").rename(path.parent / "mine-part1.h5")
    with provml.open(path) as file:
        assert file.paths == [path]


def test_names_of_parts_are_dropped_only_where_they_are_read_anyway(run: Callable[..., Path]) -> None:
    path = run("mine.h5", parts=2, part=0)
    with provml.open(path) as file:
        uuid = file.run.uuid
    part = run("mine-part1.h5", part=1, parts=2, run=uuid)
    other = run("other.h5")
    stranger = run("other-part1.h5")
    everything = [str(one) for one in (part, path, other, stranger)]
    assert without_parts(everything) == [str(path), str(other), str(stranger)]
    assert without_parts([str(part), str(other)]) == [str(part), str(other)]
    assert without_parts([str(path.parent / "not-there.h5"), str(part)]) == [
        str(path.parent / "not-there.h5"),
        str(part),
    ]


def test_what_cannot_be_read_leaves_nothing_open(run: Callable[..., Path]) -> None:
    path = run("mine.h5", parts=2)
    part_of(path, 1).write_bytes(b"no HDF5")
    with pytest.raises(provml.FormatError, match=r"mine-part1.h5 is not an HDF5 file"):
        RunFiles(path)
    with h5py.File(path, "r+"):  # which HDF5 refuses for a file that is open for reading
        pass
