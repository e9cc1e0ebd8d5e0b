"""The files of a run that several ranks wrote, as far as they say so of themselves: also where what they say is odd."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

import provml_hpc as provml
from provml_hpc.storage.place import part_in, part_of, partial_of, parts_in
from provml_hpc.storage.run_file import RunFiles, without_parts
from provml_tools import cli


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes the closed file of a run of one process, and gives it attributes."""

    def make(name: str, **attributes: Any) -> Path:
        path = tmp_path / name
        with provml.init("run", phase="learning", output=path, comm="self") as job:
            job.log(0, loss=1.0)
        with h5py.File(path, "r+") as file:
            if isinstance(attributes.get("parts"), int):  # as if all of them had begun
                details = json.loads(file.attrs["details"])
                file.attrs["details"] = json.dumps(details | {"parts": attributes["parts"]})
            for key, value in attributes.items():
                file.attrs[key] = value
        return path

    return make


def test_where_parts_lie(tmp_path: Path) -> None:
    output = tmp_path / "a.b.h5"
    assert part_of(output, 0) == output
    assert part_of(f"{output}.partial", 3) == tmp_path / "a.b-part3.h5"


@pytest.mark.parametrize("odd", ["7", -1, 2**40, 1.5, b"1", [1, 2], True, None])
def test_odd_numbers_are_none(odd: Any) -> None:
    assert (part_in({"part": odd}), parts_in({"parts": odd})) == (0, 1)
    assert (part_in({}), parts_in({"parts": 0})) == (0, 1)


@pytest.mark.parametrize("odd", ["many", -3, 2**40, 2.5, [1, 2]])
def test_a_file_that_says_odd_things_of_its_parts_is_read_as_it_is(odd: Any, run: Callable[..., Path]) -> None:
    path = run("odd.h5", part=odd, parts=odd)
    with provml.open(path) as file:
        assert (file.status, file.damage, file.paths) == ("finished", [], [path])
        assert len(file.samples("loss")) == 1


def test_a_file_that_claims_very_many_parts_says_so_in_a_few_sentences(run: Callable[..., Path]) -> None:
    path = run("many.h5", parts=3_000)
    with provml.open(path) as file:
        assert file.status == "incomplete"
        assert [Path(one.split()[0]).name for one in file.damage[:3]] == [f"many-part{n}.h5" for n in (1, 2, 3)]
        assert file.damage[3:] == ["so it is with 2996 more files of the run"]


def test_only_a_part_of_the_same_run_is_read_with_it(run: Callable[..., Path]) -> None:
    path = run("mine.h5", parts=2)
    with provml.open(path) as file:
        uuid = file.run.uuid
    run("mine-part1.h5", part=1, parts=2)
    with provml.open(path) as file:
        assert file.paths == [path]
        assert "mine-part1.h5 is a file of another run" in file.damage[0]
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


def test_one_that_cannot_be_read_leaves_the_others(run: Callable[..., Path]) -> None:
    path = run("mine.h5", parts=3)
    part_of(path, 1).write_bytes(b"no HDF5")
    part_of(path, 2).symlink_to("nowhere")
    with provml.open(path) as file:
        assert len(file.samples("loss")) == 1
        assert "mine-part1.h5 cannot be read" in file.damage[0]
        assert "mine-part2.h5 is not there" in file.damage[1]
        assert file.status == "incomplete"


@pytest.mark.parametrize("make", ["touch", "mkdir", "fifo", "link", "hdf5", "run"])
def test_a_run_of_one_file_does_not_care_what_lies_beside_it(
    make: str, run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = run("mine.h5")
    beside = part_of(path, 1)
    if make == "fifo":
        os.mkfifo(beside)
    elif make == "link":
        beside.symlink_to("nowhere")
    elif make == "hdf5":
        h5py.File(beside, "w").close()
    elif make == "run":
        run(beside.name)
    else:
        getattr(beside, make)()
    with provml.open(path) as file:
        assert (file.status, file.damage, file.paths) == ("finished", [], [path])
    for words in (["info"], ["validate"], ["recover"], ["convert", "--to", "nquads"]):
        assert cli.main([words[0], str(path), *words[1:]]) == 0
    assert capsys.readouterr().err == ""
    for number, mode in enumerate(("error", "new", "resume")):
        more = path.with_name(f"more{number}.h5")
        with provml.init("more", phase="learning", output=more, comm="self", if_exists=mode) as job:
            job.log(0, loss=1.0)
        with provml.init("mine", phase="learning", output=path, comm="self", if_exists="resume") as job:
            assert job.output == path


def test_a_link_to_the_first_file_is_read_with_the_parts_beside_what_it_means(run: Callable[..., Path]) -> None:
    path = run("mine.h5", parts=2, part=0)
    with provml.open(path) as file:
        uuid = file.run.uuid
    run("mine-part1.h5", part=1, parts=2, run=uuid)
    aside = path.parent / "aside"
    aside.mkdir()
    (aside / "latest.h5").symlink_to(path)
    with contextlib.closing(RunFiles(aside / "latest.h5")) as found:
        assert len(found.files) == 2
        assert not found.missing


def test_a_later_part_is_not_resumed_by_its_own_name(run: Callable[..., Path]) -> None:
    path = run("mine-part1.h5", part=1, parts=2)
    before = path.read_bytes()
    with pytest.raises(provml.UsageError, match="give the first of its files"):
        provml.init("mine", phase="learning", output=path, comm="self", if_exists="resume")
    assert path.read_bytes() == before
    assert not partial_of(path).exists()


def test_parts_that_contradict_each_other_are_damaged(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = run("mine.h5", parts=2, part=0)
    with provml.open(path) as file:
        uuid = file.run.uuid
    run("mine-part1.h5", part=1, parts=2, run=uuid)  # another run in truth, of the same rank
    with provml.open(path) as file, pytest.raises(provml.FormatError, match="both hold rank 0 of attempt 1"):
        file.samples("loss")
    for words in (["info"], ["validate"], ["convert", "--to", "nquads"], ["query", "who"]):
        assert cli.main([words[0], str(path), *words[1:]]) == 1
    assert capsys.readouterr().err.count("both hold rank 0 of attempt 1") == 4
    assert cli.main(["merge", str(path), "-o", str(path.with_name("one.h5"))]) == 2  # the user says what to leave out
