"""The command `provml` on files of three jobs: what it prints, what it writes, how it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from provml_hpc import __version__
from provml_hpc.storage.log_format import COMMIT_ROW
from provml_hpc.storage.tables import write_file
from provml_tools import cli
from provml_tools.console import output
from tests.offline import query_fixtures as fixtures

FORMATS = ["nquads", "ntriples", "turtle", "trig", "jsonld"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of the three jobs, and some that are none."""
    place = tmp_path_factory.mktemp("files")
    commits = np.zeros(2, COMMIT_ROW)
    commits["number"], commits["time_ns"] = [0, 1], fixtures.MONDAY
    for graph in fixtures.jobs():
        write_file(place / graph.run.file, graph, commits)
    good = (place / "facies-unet.h5").read_bytes()
    (place / "text.h5").write_text("this is no HDF5 file\n")
    (place / "empty.h5").write_bytes(b"")
    (place / "cut.h5").write_bytes(good[: len(good) // 2])
    (place / "folder.h5").mkdir()
    with h5py.File(place / "other.h5", "w") as file:
        file["x"] = [1, 2, 3]
    (place / "newer.h5").write_bytes(good)
    with h5py.File(place / "newer.h5", "r+") as file:
        file.attrs["format_version"] = "99.0"
    return place


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PROVML_DEBUG", raising=False)
    before = sorted(path.name for path in folder.iterdir())
    yield
    assert sorted(path.name for path in folder.iterdir()) == before, "a command left something behind"


JOBS = ["curate-scans.h5", "make-tiles.h5", "facies-unet.h5"]
NOTHING = ["missing.h5", "text.h5", "empty.h5", "cut.h5", "other.h5", "newer.h5", "folder.h5"]


def call(*arguments: object) -> int:
    """Run a command in this process and return its exit code."""
    try:
        return cli.main([str(one) for one in arguments])
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else -1


def run(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "provml_tools.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)  # type: ignore[call-overload,no-any-return]


class TestRefusals:
    @pytest.mark.parametrize("name", NOTHING)
    @pytest.mark.parametrize(
        "command",
        [["info"], ["convert", "--to", "nquads"], ["query", "compare-trainings"], ["query", "--sparql", "ASK {}"]],
    )
    def test_what_is_no_file_of_a_run(self, command: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
        words = [command[0], name, *command[1:]]
        assert call(*words) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert said.err.startswith(f"provml {command[0]}: error: ")
        assert name in said.err

    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            ([], "COMMAND"),
            (["nonsense"], "invalid choice"),
            (["info"], "FILE"),
            (["info", "a.h5", "--nonsense"], "--nonsense"),
            (["convert", "facies-unet.h5"], "--to"),
            (["convert", "facies-unet.h5", "--to", "word"], "turtle"),
            (["convert", "facies-unet.h5", "--to", "nquads", "--base", "no iri"], "absolute"),
            (["convert", "facies-unet.h5", "./facies-unet.h5", "--to", "nquads"], "twice"),
            (["convert", "facies-unet.h5", "--to", "nquads", "-o", "facies-unet.h5"], "one of the inputs"),
            (["query"], "compare-trainings"),
            (["query", "facies-unet.h5"], "Which question"),
            (["query", "compare-trainings"], "No file"),
            (["query", "facies-unet.h5", "compare-training"], "Did you mean compare-trainings"),
            (["query", "facies-unet.h5", "compare-trainings", "--model", "x"], "has no --model"),
            (["query", "facies-unet.h5", "compare-trainings", "--measure", "nothing"], "accuracy"),
            (["query", "facies-unet.h5", "--sparql", "SELECT * { ?s }"], "line 1, column"),
            (["query", "facies-unet.h5", "--sparql", "ASK {}", "--study", "x"], "--study"),
            (["query", "facies-unet.h5", "compare-trainings", "model-lineage"], "One question"),
        ],
    )
    def test_a_wrong_call(self, words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert call(*words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert hint in said.err

    def test_a_question_in_a_file_that_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("query", "facies-unet.h5", "--sparql", "@missing.rq") == 1
        assert "missing.rq" in capsys.readouterr().err

    def test_a_name_with_line_breaks_stays_on_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("info", "a\nb\x1b[2J.h5") == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "\x1b" not in said

    def test_the_traceback_is_shown_on_request(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PROVML_DEBUG", "1")
        assert call("info", "missing.h5") == 1
        assert "Traceback" in capsys.readouterr().err

    def test_what_nobody_foresaw_is_one_line_too(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from provml_tools import info

        monkeypatch.setattr(info, "collect", lambda path: 1 // 0)
        assert call("info", "facies-unet.h5") == 1
        said = capsys.readouterr().err
        assert "ZeroDivisionError" in said
        assert said.count("\n") == 1

    def test_a_stop_by_hand_is_130(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        from provml_tools import info

        def stop(path: str) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(info, "collect", stop)
        assert call("info", "facies-unet.h5") == 130
        assert capsys.readouterr().err == "provml info: error: stopped\n"


class TestHelp:
    def test_every_command_has_examples(self, capsys: pytest.CaptureFixture[str]) -> None:
        from provml_tools.commands import COMMANDS

        assert call("--help") == 0
        top = capsys.readouterr().out
        for name in COMMANDS:
            assert f"\n    {name}" in top
            assert call(name, "--help") == 0
            page = capsys.readouterr().out
            assert f"examples:\n  provml {name}" in page

    def test_the_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("--version") == 0
        assert capsys.readouterr().out == f"provml {__version__}\n"

    def test_help_needs_nothing_heavy(self) -> None:
        heavy = ["h5py", "pyoxigraph", "rich", "mpi4py", "pandas"]
        program = (
            "import sys; from provml_tools import cli\n"
            "try: cli.main(['query', '--help'])\n"
            "except SystemExit: pass\n"
            f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
        )
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert answer.stderr == "[]\n"


class TestInfo:
    def test_one_screen(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("info", "facies-unet.h5") == 0
        said = capsys.readouterr().out
        for words in (
            "facies-unet (learning), study facies", "status      finished", "who         cleo",
            "2025-10-11T08:53:20Z to 2025-10-11T09:53:20Z (1 h 0 min)", "8 samples, 2 commits", "unet-0.npz",
        ):  # fmt: skip
            assert words in said
        rows = [line.split() for line in said.splitlines()]
        assert ["epoch", "learning", "stage", "section", "4", "1", "min", "16", "s", "19", "s", "19", "s"] in rows
        assert ["lr", "9.0,", "0.1,", "0.01"] in rows
        assert ["accuracy", "evaluations", "4", "0.75", "0.6", "0.91"] in rows

    def test_the_same_for_programs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("info", "facies-unet.h5", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["status"] == "finished"
        assert found["study"] == "facies"
        assert found["commits"]["count"] == 2
        assert found["rows"]["samples"] == 8
        assert {one["name"]: one["count"] for one in found["activities"]} == {
            "trial-0": 1, "trial-1": 1, "validation": 4, "evaluation": 1, "epoch": 4,
        }  # fmt: skip
        assert {one["name"] for one in found["data"] if one["made here"]} == {"unet-0.npz", "unet-1.npz"}


class TestConvert:
    @pytest.mark.parametrize("form", FORMATS)
    def test_every_format_to_standard_output_and_to_a_file(
        self, form: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        assert call("convert", *JOBS, "--to", form) == 0
        printed = capfdbinary.readouterr().out
        target = tmp_path / "out"
        assert call("convert", *JOBS, "--to", form, "-o", target) == 0
        assert target.read_bytes() == printed
        assert len(printed) > 10_000
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_an_output_that_is_there_is_replaced_as_a_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "out.nq"
        target.write_text("old")
        target.chmod(0o640)
        link = tmp_path / "link.nq"
        link.symlink_to(target)
        assert call("convert", "facies-unet.h5", "--to", "nquads", "-o", link) == 0
        assert link.is_symlink()
        assert target.stat().st_mode & 0o777 == 0o640
        assert target.read_text().endswith(".\n")

    @pytest.mark.parametrize("bad", ["missing.h5", "cut.h5", "other.h5"])
    def test_a_failure_leaves_the_place_as_it_was(self, bad: str, tmp_path: Path) -> None:
        target = tmp_path / "out.nq"
        target.write_text("old")
        assert call("convert", "facies-unet.h5", bad, "--to", "nquads", "-o", target) == 1
        assert target.read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["out.nq"]

    @pytest.mark.parametrize("place", ["missing/out.nq", ".", "file/out.nq"])
    def test_an_unwritable_output(self, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").write_text("a file, not a folder")
        assert call("convert", "facies-unet.h5", "--to", "nquads", "-o", tmp_path / place) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "Cannot write" in said
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_a_full_disk(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("convert", "facies-unet.h5", "--to", "nquads", "-o", "/dev/full") == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "No space left" in said

    def test_samples_and_base(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        assert call("convert", "facies-unet.h5", "--to", "ntriples", "--base", "https://example.org/p/") == 0
        without = capfdbinary.readouterr().out
        assert b"<https://example.org/p/" in without
        assert b"<urn:uuid:" not in without
        assert call("convert", "facies-unet.h5", "--to", "ntriples", "--samples") == 0
        assert capfdbinary.readouterr().out.count(b"\n") > without.count(b"\n") + 8


class TestQuery:
    def test_a_table_a_person_reads(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("query", *JOBS, "compare-trainings") == 0
        said = capsys.readouterr()
        assert said.out.splitlines() == [
            "training  experiment   batch  layers    lr  accuracy  loss    f1",
            "--------  -----------  -----  ------  ----  --------  ----  ----",
            "trial-0   facies-unet     32       3   0.1      0.91   0.4  0.88",
            "trial-1   facies-unet     32       4  0.01      0.75   0.8",
        ]
        assert said.err == "provml: best first by accuracy (higher is better); --measure takes another\n"

    def test_json_and_csv_for_programs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("query", *JOBS, "compare-trainings", "--format", "json") == 0
        found = json.loads(capsys.readouterr().out)
        assert [(row["training"], row["lr"], row["accuracy"]) for row in found] == [
            ("trial-0", 0.1, 0.91),
            ("trial-1", 0.01, 0.75),
        ]
        assert call("query", *JOBS, "--format", "csv", "compare-trainings") == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert [(row["training"], row["lr"], row["f1"]) for row in rows] == [
            ("trial-0", "0.1", "0.88"),
            ("trial-1", "0.01", ""),
        ]

    def test_the_lineage_is_a_tree(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("query", *JOBS, "model-lineage", "--model", "unet-0.npz") == 0
        first = [
            line.split("  ", 1)[0] if not line.startswith(" ") else line
            for line in capsys.readouterr().out.splitlines()
        ]
        assert first[2] == "unet-0.npz"
        assert first[3].startswith("  trial-0")
        assert any(line.startswith(" " * 16 + "a.dat") for line in first)

    def test_sparql_in_all_forms(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = "SELECT ?name ?step { ?m a provml:Model ; rdfs:label ?name ; provml:step ?step } ORDER BY ?name"
        assert call("query", *JOBS, "--sparql", text, "--format", "csv") == 0
        assert capsys.readouterr().out.splitlines() == ["name,step", "unet-0.npz,100", "unet-1.npz,100"]
        question = tmp_path / "question.rq"
        question.write_text(f"# models\n{text}\n")
        assert call("query", *JOBS, "--sparql", f"@{question}", "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)[0] == {"name": "unet-0.npz", "step": 100}
        for form, word in (("table", "yes"), ("json", "true"), ("csv", "true")):
            assert call("query", *JOBS, "--sparql", "ASK { ?m a provml:Model }", "--format", form) == 0
            assert capsys.readouterr().out == f"{word}\n"
        assert call("query", "facies-unet.h5", "--sparql", "CONSTRUCT { ?m a ?c } WHERE { ?m a ?c, provml:Model }") == 0
        said = capsys.readouterr().out
        assert "unet-0.npz" in said
        assert "provml:Model" in said

    def test_an_empty_answer_says_so_and_is_no_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("query", "curate-scans.h5", "--sparql", "SELECT ?m { ?m a provml:Model }") == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert "nothing found" in said.err
        assert call("query", "curate-scans.h5", "compare-trainings", "--format", "json") == 0
        said = capsys.readouterr()
        assert json.loads(said.out) == []
        assert "nothing was found" in said.err or "nothing found" in said.err

    def test_the_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        from provml_tools.query import catalog

        assert call("query", "--list") == 0
        said = capsys.readouterr().out
        assert {line for line in said.splitlines() if not line.startswith(" ")} == set(catalog())
        assert call("query", "--list", "--format", "json") == 0
        assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(catalog())

    def test_a_reader_that_has_seen_enough_is_no_error(self) -> None:
        command = [sys.executable, "-m", "provml_tools.cli", "convert", *JOBS, "--to", "nquads"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read()
            assert process.wait(60) == 0
        assert said == b""

    def test_an_ascii_terminal_shows_what_it_can(self) -> None:
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        answer = run("query", "facies-unet.h5", "--sparql", 'SELECT ("\\u00fc" AS ?x) {}', env=environment)
        assert answer.returncode == 0
        assert answer.stdout.splitlines()[-1] == "\\xfc"


class TestProcess:
    def test_exit_codes_and_one_line(self) -> None:
        answers = [
            run("query", "facies-unet.h5", "compare-trainings"), run("query", "facies-unet.h5", "nothing"),
            run("info", "text.h5"),
        ]  # fmt: skip
        assert [answer.returncode for answer in answers] == [0, 2, 1]
        assert [answer.stderr.count("\n") for answer in answers] == [1, 1, 1]

    @pytest.mark.parametrize(
        ("number", "code", "words"),
        [(signal.SIGINT, 130, "provml convert: error: stopped\n"), (signal.SIGTERM, 143, "")],
    )
    def test_a_stop_by_signal(self, number: signal.Signals, code: int, words: str, tmp_path: Path) -> None:
        fifo = tmp_path / "slow"
        os.mkfifo(fifo)
        # It waits to open a file that is never written to.
        command = [
            sys.executable,
            "-m",
            "provml_tools.cli",
            "convert",
            "facies-unet.h5",
            "--to",
            "nquads",
            "-o",
            str(fifo),
        ]
        # Whoever starts the tests in the background has the interrupt ignored, and every child with them.
        fresh = lambda: signal.signal(number, signal.SIG_DFL)  # noqa: E731
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=fresh) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            process.send_signal(number)
            said = process.communicate(timeout=60)[1]
        assert process.returncode == code
        assert said == words

    @pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ValueError])
    def test_an_output_that_is_not_finished_is_not_there(self, end: type[BaseException], tmp_path: Path) -> None:
        def write() -> None:
            with output(str(tmp_path / "out")) as stream:
                stream.write(b"half")
                raise end

        with pytest.raises(end):
            write()
        assert list(tmp_path.iterdir()) == []
