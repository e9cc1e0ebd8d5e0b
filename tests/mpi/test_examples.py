"""The examples, run as a user runs them, and what their files say."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from tests.mpi import launch
from tests.offline import reasoner

pytest.importorskip("sklearn", reason="the digits come with scikit-learn (extra demo)")

EXAMPLES = launch.ROOT / "examples"
DIGITS = EXAMPLES / "digits"
SHEETS, EPOCHS, TRIALS, RANKS = 36, 20, 4, 4


def provml_tool(*words: object, cwd: Path) -> str:
    """Run the command `provml` and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", "from provml_tools.cli import main; raise SystemExit(main())", *map(str, words)],
        cwd=cwd,
        env=launch.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(query: str, *files: Path) -> list[dict[str, str]]:
    """Ask a named query and return its rows."""
    said = provml_tool("query", *files, query, "--format", "csv", cwd=files[0].parent)
    return list(csv.DictReader(io.StringIO(said)))


@pytest.mark.parametrize("ranks", [None, 1, 2, 4])
def test_minimal_on_any_number_of_ranks(tmp_path: Path, ranks: int | None) -> None:
    launch.mpi_run(EXAMPLES / "minimal.py", ranks, cwd=tmp_path).check()
    size = ranks or 1
    with provml.open(tmp_path / "line.h5") as file:
        assert file.status == "finished"
        losses = file.samples(measure="loss")
        assert Counter(losses["rank"].tolist()) == dict.fromkeys(range(size), 20)
        for rank in range(size):
            assert losses["step"][losses["rank"] == rank].tolist() == list(range(20))
    slope, offset = np.load(tmp_path / "line.npy")
    assert slope == pytest.approx(3, abs=0.01)
    assert offset == pytest.approx(1, abs=0.01)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the three jobs once and return their folder."""
    folder = tmp_path_factory.mktemp("digits")
    launch.mpi_run(DIGITS / "sheets.py", None, ["raw"], cwd=folder).check()
    for script, ranks in (("curate.py", 4), ("prepare.py", 2), ("learn.py", RANKS)):
        said = launch.mpi_run(DIGITS / script, ranks, ["."], cwd=folder, timeout=120).check()
        assert "Warning" not in said.stderr
        (folder / f"{script}.said").write_text(said.stdout)
    return folder


def weights(said: str) -> str:
    """Return the digest of the weights that a learning job printed."""
    found = re.search(r"sha256 of the weights: ([0-9a-f]{64})", said)
    assert found is not None, said
    return found[1]


def test_learning_is_the_same_to_the_last_bit_without_capture(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "digits.h5").write_bytes((demo / "digits.h5").read_bytes())
    said = launch.mpi_run(DIGITS / "learn.py", RANKS, ["."], cwd=tmp_path, env={"PROVML_DISABLE": "1"}, timeout=120)
    assert weights(said.check().stdout) == weights((demo / "learn.py.said").read_text())
    assert not (tmp_path / "learning.h5").exists()


def test_curation_says_what_it_rejected(demo: Path) -> None:
    said = (demo / "curate.py.said").read_text()
    assert sorted(re.findall(r"(sheet-\d\d): rejected", said)) == ["sheet-12", "sheet-27"]
    with provml.open(demo / "curation.h5") as file:
        assert len([one for one in file.activities if one.name == "curate sheet"]) == SHEETS
        verdicts = Counter(one.value for one in file.attributes if one.name == "verdict")
    assert verdicts == {"accepted": SHEETS - 2, "rejected": 2}


def test_every_sample_of_the_learning_is_there_once(demo: Path) -> None:
    with provml.open(demo / "learning.h5") as file:
        assert file.status == "finished"
        names = Counter(one.name for one in file.activities if one.kind == "TrainingExecution")
        assert names == {"trial": TRIALS, "full training": 1}
        losses = file.samples(measure="loss", activity="full training")
    steps = {rank: losses["step"][losses["rank"] == rank].tolist() for rank in range(RANKS)}
    assert steps[0] == list(range(len(steps[0])))
    assert len(steps[0]) % EPOCHS == 0
    assert all(of_rank == steps[0] for of_rank in steps.values())


def files(demo: Path) -> list[Path]:
    """Return the three provenance files."""
    return [demo / f"{name}.h5" for name in ("curation", "preparation", "learning")]


def test_trainings_are_compared_best_first(demo: Path) -> None:
    rows = answers("compare-trainings", *files(demo))
    assert len(rows) == TRIALS + 1
    accuracies = [float(row["accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {row["lr"] for row in rows} >= {"0.02", "0.1", "0.5"}


def test_the_model_is_traced_to_every_accepted_scan_and_to_no_other(demo: Path) -> None:
    said = provml_tool("query", *files(demo), "model-lineage", "--format", "json", cwd=demo)
    rows: Any = json.loads(said)
    found = set(re.findall(r"sheet-\d\d\.pgm", json.dumps(rows)))
    assert found == {f"sheet-{number:02}.pgm" for number in range(SHEETS)} - {"sheet-12.pgm", "sheet-27.pgm"}


def test_what_the_demo_writes_is_accepted_by_everybody_elses_tools(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No violation at any level, every format alike to strict parsers, and a valid crate."""
    for needed in ("pyshacl", "prov", "rocrate", "rocrate_validator"):
        pytest.importorskip(needed, reason=f"{needed} is not there: pip install provml-hpc[dev]")
    ox = pytest.importorskip("pyoxigraph")
    provml_tool("validate", *files(demo), cwd=demo)
    graphs = {}
    for form, read in (("nquads", "nq"), ("trig", "trig"), ("jsonld", "jsonld"), ("ntriples", "nt"), ("turtle", "ttl")):
        said = provml_tool("convert", *files(demo), "--to", form, cwd=demo)
        quads = {str(quad.triple) for quad in ox.parse(said, format=ox.RdfFormat.from_extension(read))}
        graphs[form] = quads
    assert len(set(map(frozenset, graphs.values()))) == 1
    from tests.offline.crates import checker

    licence = "https://creativecommons.org/licenses/by/4.0/"
    check = checker(monkeypatch)
    for file in files(demo):
        crate = tmp_path / f"crate-{Path(file).stem}"
        provml_tool("export", file, "--to", "crate", "-o", crate, "--license", licence, cwd=demo)
        assert check(crate, "REQUIRED") == [], file


@reasoner.needs_reference
@reasoner.needs_reasoner
def test_the_demo_is_consistent_with_prov_o_and_ml_schema(demo: Path, tmp_path: Path) -> None:
    said = provml_tool("convert", *files(demo), "--to", "ntriples", cwd=demo)
    assert reasoner.is_consistent(reasoner.theory() | reasoner.text(said), tmp_path)


def test_the_demo_answers_its_questions(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    said = launch.mpi_run(DIGITS / "run_demo.py", None, ["--output", "demo"], cwd=tmp_path, timeout=240).check().stdout
    assert "Which setting was best" in said
    assert re.search(r"derived from +34 +demo/raw/sheet-\*\.pgm", said)
    assert weights(said)
    again = launch.mpi_run(DIGITS / "run_demo.py", None, ["--output", "."], cwd=tmp_path)
    assert again.returncode == 1
    assert "was not made by this demo" in again.stderr
