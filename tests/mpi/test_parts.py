"""The files of a run of which several ranks wrote: read as one, merged, recovered, gone on with, or refused."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.errors import FileMissingError, UsageError
from provml_hpc.storage.merge import merge
from provml_hpc.storage.owner import recovering
from provml_hpc.storage.place import hidden_of, part_of, partial_of
from provml_hpc.storage.recover import outputs_of, recover
from provml_hpc.storage.tables import read_attributes
from provml_tools import cli
from tests.mpi.launch import Result
from tests.mpi.parts import nothing_else, seen, steps
from tests.mpi.reading import File, same

Run = Callable[..., Result]


@pytest.fixture
def job(mpi_run: Run, tmp_path: Path) -> Path:
    """Return the folder of a job of five ranks that was run with one writer rank (in ``one``) and with three."""
    (tmp_path / "tiles.csv").write_text("1\n2\n3\n")
    one = tmp_path / "one"
    one.mkdir()
    mpi_run("apart.py", 5, timeout=100).check()
    (tmp_path / "run.h5").rename(one / "run.h5")
    (tmp_path / "model.bin").unlink()
    mpi_run("apart.py", 5, env={"WRITERS": "3"}, timeout=100).check()
    return tmp_path


def test_what_is_read_is_what_one_writer_rank_would_have_written(
    job: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job)
    nothing_else(job, "one", "tiles.csv", "model.bin", "run.h5", "run-part1.h5", "run-part2.h5")
    same(job / "one" / "run.h5", job / "run.h5")
    with provml.open("run.h5") as run:
        assert [path.name for path in run.paths] == ["run.h5", "run-part1.h5", "run-part2.h5"]
        assert (run.status, run.damage, run.live) == ("finished", [], False)
        assert run.run.details["ranks"] == [0, 1, 2, 3, 4]
        (training,) = run.activities.where(name="training")
        assert training.ranks == "0-4"
        # What the capture took is known of every rank, and the close of every file.
        cost = run.run.details["cost"]
        assert set(cost["flush_ns"]) == set(range(5))
        assert len(cost["close_ns"]) == 3
        assert len(run.commits) > 3
        assert (np.diff(run.commits["time_ns"]) >= 0).all()
    # A later part by its own name is what its ranks saw.
    with provml.open("run-part2.h5") as part:
        assert part.run.details["ranks"] == [3, 4]
        assert part.status == "finished"

    # One file of them, whichever of them are named, and in whatever order.
    made = merge(["run.h5"], "whole.h5")
    assert (made.status, made.ranks, made.missing) == ("finished", [0, 1, 2, 3, 4], [])
    merge(["run-part2.h5", "run.h5", "run-part1.h5"], "other.h5")
    assert Path("whole.h5").read_bytes() == Path("other.h5").read_bytes()
    same(job / "one" / "run.h5", job / "whole.h5")
    assert File(job / "whole.h5").run.parts == 1
    part = merge(["run-part1.h5", "run-part2.h5"], "part.h5")
    assert (part.status, part.missing) == ("incomplete", [0])

    # The commands take the first file for all of them, and the others beside it for no more.
    def said(*words: str, code: int = 0) -> str:
        assert cli.main(list(words)) == code
        return capsys.readouterr().out

    assert "run.h5 and 2 more parts beside it" in said("info", "run.h5")
    told = json.loads(said("info", "run.h5", "--json"))
    assert (told["ranks"], told["status"], len(told["files"])) == (5, "finished", 3)
    quads = said("convert", "run.h5", "--to", "nquads", "--samples")
    everything = ["run-part1.h5", "run.h5", "run-part2.h5"]
    assert said("convert", *everything, "--to", "nquads", "--samples") == quads
    assert said("query", *everything, "training-progress") == said("query", "run.h5", "training-progress")
    said("validate", "run.h5")
    said("validate", *everything)
    assert said("recover", "run.h5").count("is complete already") == 3
    said("convert", "run.h5", "--to", "nquads", "-o", "run-part1.h5", code=2)


def test_a_crate_has_all_files(mpi_run: Run, tmp_path: Path) -> None:
    pytest.importorskip("rocrate", reason="pip install provml-hpc[export], which the environment of Open MPI has not")
    mpi_run("writers.py", 2, ["attempt", 2, "a"], timeout=60).check()
    assert cli.main(["export", str(tmp_path / "run.h5"), "--to", "crate", "-o", str(tmp_path / "crate")]) == 0
    assert {path.name for path in (tmp_path / "crate").glob("*.h5")} == {"run.h5", "run-part1.h5"}


def test_a_part_that_is_not_there_is_told_of(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "run-part1.h5").rename(job / "elsewhere.h5")
    with provml.open(job / "run.h5") as run:
        assert run.status == "incomplete"
        assert [path.name for path in run.paths] == ["run.h5", "run-part2.h5"]
        (damage,) = run.damage
        assert "run-part1.h5 is not there" in damage
        assert run.run.details["ranks"] == [0, 3, 4]
    assert cli.main(["validate", str(job / "run.h5")]) == 1
    assert "run-part1.h5 is not there" in capsys.readouterr().out
    assert merge([job / "run.h5"], job / "some.h5").missing == [1, 2]
    # Somebody else's of that name is not taken for it.
    (job / "run-part1.h5").write_bytes((job / "one" / "run.h5").read_bytes())
    with provml.open(job / "run.h5") as run:
        assert run.status == "incomplete"
        assert run.run.details["ranks"] == [0, 3, 4]
        (job / "run-part1.h5").unlink()
        (job / "elsewhere.h5").rename(job / "run-part1.h5")
        run.refresh()
        assert (run.status, run.run.details["ranks"]) == ("finished", [0, 1, 2, 3, 4])


def test_there_are_no_more_writer_ranks_than_ranks(mpi_run: Run, tmp_path: Path) -> None:
    (tmp_path / "tiles.csv").write_text("1\n")
    mpi_run("apart.py", 2, env={"WRITERS": "40"}, timeout=100).check()
    nothing_else(tmp_path, "tiles.csv", "model.bin", "run.h5", "run-part1.h5")
    (tmp_path / "run.h5").unlink()
    (tmp_path / "run-part1.h5").unlink()
    mpi_run("apart.py", None, env={"WRITERS": "40"}, timeout=100).check()
    nothing_else(tmp_path, "tiles.csv", "model.bin", "run.h5")
    for wrong in (0, -1, "two", 1.5, True):
        with pytest.raises(UsageError, match=r"writers=.* give how many ranks shall write"):
            provml.init("x", phase="learning", output=tmp_path / "x.h5", writers=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second", "files"),
    [(2, 2, 2), (1, 3, 3), (3, 1, 3)],
    ids=lambda value: str(value),
)
def test_a_run_is_resumed_in_all_of_its_files(
    mpi_run: Run, tmp_path: Path, first: int, second: int, files: int
) -> None:
    assert mpi_run("writers.py", 4, ["attempt", first, "a", "die"], timeout=60).returncode != 0
    mpi_run("writers.py", 4, ["attempt", second, "b"], timeout=60).check()
    assert [one["attempt"] for one in seen(tmp_path, 4)] == [2] * 4
    nothing_else(tmp_path, *(part_of("run.h5", number).name for number in range(files)))
    with provml.open(tmp_path / "run.h5") as run:
        assert (run.status, run.run.details["attempts"]) == ("finished", [1, 2])
        found = run.samples("loss")
        for attempt in (1, 2):
            for rank in range(4):
                mine = found[(found["rank"] == rank) & (found["attempt"] == attempt)]
                assert mine["step"].tolist() == list(range(20))
    # The number of an attempt is never given again, in none of the files.
    mpi_run("writers.py", 4, ["attempt", second, "c"], timeout=60).check()
    assert [one["attempt"] for one in seen(tmp_path, 4)] == [3] * 4
    with provml.open(tmp_path / "run.h5") as run:
        assert (run.status, run.run.details["attempts"]) == ("finished", [1, 2, 3])


def test_what_there_are_too_few_ranks_for_is_finished(mpi_run: Run, tmp_path: Path) -> None:
    assert mpi_run("writers.py", 4, ["attempt", 4, "a", "die"], timeout=60).returncode != 0
    mpi_run("writers.py", 2, ["attempt", 1, "b"], timeout=60).check()
    nothing_else(tmp_path, *(part_of("run.h5", number).name for number in range(4)))
    with provml.open(tmp_path / "run.h5") as run:
        assert (run.status, run.run.details["attempts"]) == ("finished", [1, 2])
        counted = Counter((row["attempt"], row["rank"]) for row in run.samples("loss"))
    assert counted == {(1, rank): 20 for rank in range(4)} | {(2, rank): 20 for rank in range(2)}
    # In a file that lay still the next attempt is that of all the others, too.
    mpi_run("writers.py", 4, ["attempt", 4, "c"], timeout=60).check()
    assert [one["attempt"] for one in seen(tmp_path, 4)] == [3] * 4
    with provml.open(tmp_path / "run.h5") as run:
        assert (run.status, run.run.details["attempts"]) == ("finished", [1, 2, 3])


def test_an_output_of_which_a_part_is_there_is_refused(mpi_run: Run, tmp_path: Path) -> None:
    (tmp_path / "run-part1.h5").write_bytes(b"of another run")
    mpi_run("writers.py", 4, ["refused", "error"], timeout=60).check()
    assert all("run-part1.h5 exists already" in one["error"] for one in seen(tmp_path, 4))
    nothing_else(tmp_path, "run-part1.h5")
    mpi_run("writers.py", 4, ["refused", "new"], timeout=60).check()
    nothing_else(tmp_path, "run-part1.h5", "run-1.h5", "run-1-part1.h5")
    # Also where it is found only when the first file has been taken: that one is as it was.
    (tmp_path / "run-part1.h5").unlink()
    mpi_run("writers.py", 4, ["attempt", 1, "a"], timeout=60).check()
    (tmp_path / "run-part1.h5").write_bytes(b"of another run")
    before = (tmp_path / "run.h5").read_bytes()
    mpi_run("writers.py", 4, ["refused", "resume"], timeout=60).check()
    assert all("run-part1.h5" in one["error"] for one in seen(tmp_path, 4))
    assert (tmp_path / "run.h5").read_bytes() == before
    assert (tmp_path / "run-part1.h5").read_bytes() == b"of another run"


def test_a_resume_that_is_refused_leaves_all_files_as_they_were(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("writers.py", 4, ["attempt", 2, "a"], timeout=60).check()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("run*.h5")}
    with recovering(tmp_path / "run-part1.h5", force=True):  # somebody has one of them in hand
        mpi_run("writers.py", 4, ["refused", "resume"], timeout=60).check()
        assert all("run-part1.h5" in one["error"] for one in seen(tmp_path, 4))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("run*.h5*")} == before
    mpi_run("writers.py", 4, ["attempt", 2, "b"], timeout=60).check()
    assert [one["attempt"] for one in seen(tmp_path, 4)] == [2] * 4


def test_a_run_is_not_resumed_without_one_of_its_files(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("writers.py", 3, ["attempt", 3, "a"], timeout=60).check()
    (tmp_path / "run-part1.h5").rename(tmp_path / "elsewhere.h5")
    mpi_run("writers.py", 3, ["refused", "resume"], timeout=60).check()
    assert all("run-part1.h5 is not there" in one["error"] for one in seen(tmp_path, 3))
    nothing_else(tmp_path, "run.h5", "run-part2.h5", "elsewhere.h5")


def test_how_an_earlier_attempt_ended_does_not_count(mpi_run: Run, tmp_path: Path) -> None:
    mpi_run("writers.py", 4, ["leave", 3], timeout=60).check()
    for output in outputs_of(tmp_path / "run.h5"):
        recover(output)
    with provml.open(tmp_path / "run.h5") as run:
        assert run.status == "failed"
    mpi_run("writers.py", 1, ["attempt", 1, "b"], timeout=60).check()
    with provml.open(tmp_path / "run.h5") as run:
        assert (run.status, run.run.details["attempts"]) == ("finished", [1, 2])
    assert merge([tmp_path / "run.h5"], tmp_path / "whole.h5").status == "finished"


def test_a_merge_leaves_nothing_out_in_silence(
    mpi_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mpi_run("writers.py", 3, ["attempt", 3, "a"], timeout=60).check()
    part = tmp_path / "run-part1.h5"
    part.write_bytes(part.read_bytes()[:1000])
    words = ["merge", str(tmp_path / "run.h5"), "-o", str(tmp_path / "one.h5")]
    assert cli.main(words) == 1
    assert "run-part1.h5 cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "one.h5").exists()
    part.unlink()
    (tmp_path / "run-part2.h5").unlink()
    assert cli.main(words) == 0
    assert "not there: ranks 1-2" in capsys.readouterr().out
    # What of a run is not there is told by whoever makes something of the rest, too.
    assert cli.main(["convert", str(tmp_path / "run.h5"), "--to", "nquads"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" is not there")[0] for line in told] == [
        f"provml: {part_of(tmp_path / 'run.h5', number)}" for number in (1, 2)
    ]


def test_a_recovery_of_one_file_does_not_wait_for_that_of_another(
    mpi_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mpi_run("writers.py", 3, ["attempt", 3, "a", "die"], timeout=60).returncode != 0
    broken = partial_of(tmp_path / "run-part1.h5")
    broken.write_bytes(broken.read_bytes()[:1000])
    assert cli.main(["recover", str(tmp_path / "run.h5")]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "run-part1.h5.partial" in said.err
    assert {path.name for path in tmp_path.glob("*.h5")} == {"run.h5", "run-part2.h5"}
    assert steps(tmp_path / "run.h5") == {rank: list(range(20)) for rank in (0, 2)}


def test_journals_alone_tell_which_file_each_is_of(mpi_run: Run, tmp_path: Path) -> None:
    """The logs are lost, and all journals lie in one folder."""
    assert mpi_run("writers.py", 4, ["attempt", 2, "a", "die", "early"], timeout=60).returncode != 0
    output, aside = tmp_path / "run.h5", tmp_path / "aside"
    aside.mkdir()
    for one in outputs_of(output):
        for path in hidden_of(one).glob("*.journal"):
            path.rename(aside / path.name)
        shutil.rmtree(hidden_of(one))
        partial_of(one).unlink()
    kept = tmp_path / "kept"
    shutil.copytree(aside, kept)
    assert outputs_of(output, [aside]) == [output, part_of(output, 1)]
    for one in outputs_of(output, [aside]):
        recover(one, journals=[aside], force=True)
    assert steps(output) == {rank: list(range(20)) for rank in range(4)}
    assert not list(aside.iterdir())
    # Those of the second file alone do not become the first.
    for path in kept.iterdir():
        if path.name.split("-")[2] in ("r00000", "r00001"):
            path.unlink()
    for one in outputs_of(output):
        one.unlink()
    with pytest.raises(FileMissingError):
        recover(output, journals=[kept], force=True)
    recover(part_of(output, 1), journals=[kept], force=True)
    assert steps(part_of(output, 1)) == {rank: list(range(20)) for rank in (2, 3)}


def test_journals_of_all_files_may_lie_in_one_folder(mpi_run: Run, tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    assert mpi_run("writers.py", 4, ["attempt", 2, "a", "die", "aside"], timeout=60).returncode != 0
    for output in outputs_of(tmp_path / "run.h5"):
        recover(output)
    for part, ranks in ((0, [0, 1]), (1, [2, 3])):
        assert read_attributes(part_of(tmp_path / "run.h5", part))["details"]["ranks"] == ranks
    assert steps(tmp_path / "run.h5") == {rank: list(range(20)) for rank in range(4)}


def test_an_attempt_whose_number_is_spent_in_one_file_is_none_in_any(mpi_run: Run, tmp_path: Path) -> None:
    """A resume is refused: the first file, which was closed, is as it was, and the second has begun the attempt."""
    assert mpi_run("writers.py", 3, ["attempt", 3, "a", "die"], timeout=60).returncode != 0
    recover(tmp_path / "run.h5")
    with recovering(tmp_path / "run-part2.h5", force=True):
        mpi_run("writers.py", 3, ["refused", "resume"], timeout=60).check()
    mpi_run("writers.py", 3, ["attempt", 3, "b"], timeout=60).check()
    assert [one["attempt"] for one in seen(tmp_path, 3)] == [3] * 3
    with provml.open(tmp_path / "run.h5") as run:
        assert (run.status, run.run.details["attempts"]) == ("finished", [1, 3])
        assert Counter(run.samples("loss")["rank"].tolist()) == dict.fromkeys(range(3), 40)


def test_what_is_said_of_a_dead_run_is_how_to_go_on(mpi_run: Run, tmp_path: Path) -> None:
    assert mpi_run("writers.py", 4, ["attempt", 2, "a", "die"], timeout=60).returncode != 0
    mpi_run("writers.py", 4, ["refused", "error"], timeout=60).check()
    assert all("provml recover" in one["error"] and "resume" in one["error"] for one in seen(tmp_path, 4))
