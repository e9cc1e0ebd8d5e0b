"""The ten questions over nine jobs with forty trainings, two revisions of a file and a run that goes on: by hand.

Every expected answer is written down here from the story in `forty`; nothing is worked out by what is tested.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import provml_hpc as provml
from provml_tools.cli import main
from provml_tools.query import Answer, Engine, ask, catalog
from provml_tools.query.tables import as_csv, as_json
from tests.offline import forty

TEN = (
    *("best-model-data", "checkpoint-origin", "compare-trainings", "cost", "data-impact"),
    *("model-lineage", "reproduce", "stragglers", "training-progress", "who"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Capture the story once, and keep its last job going on."""
    with forty.captured(tmp_path_factory.mktemp("forty")) as folder:
        yield folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    """Load all files together."""
    return Engine([provml.open(folder / name).graph for name in forty.FILES])


def rows(answer: Answer, *columns: str) -> list[tuple[Any, ...]]:
    assert set(columns) <= set(answer.columns)
    return [tuple(row.get(column) for column in columns) for row in answer.rows]


def sha(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_the_story_has_what_it_is_for(engine: Engine) -> None:
    answer = ask(engine, "compare-trainings")
    assert len(answer.rows) == 40
    assert {row["outcome"] for row in answer.rows} == {"completed", "open"}
    (going,) = (row for row in answer.rows if row["outcome"] == "open")
    assert (going["training"], going["accuracy"]) == ("going", 0.55)


def test_compare_trainings(engine: Engine) -> None:
    answer = ask(engine, "compare-trainings", {"study": "netherlands-f3"})
    ranked = rows(answer, "training", "experiment", "accuracy", "lr", "width", "seed")
    assert len(ranked) == 39
    assert ranked[:6] == [
        ("final", "final", 0.93, 0.03, 64, None),
        ("trial-16", "search", 0.91, 0.03, 64, 2),
        ("trial-15", "search", 0.88, 0.03, 64, 1),
        ("trial-17", "search", 0.87, 0.03, 64, 3),
        ("trial-14", "search", 0.85, 0.03, 32, 3),
        # Two with 0.84: that which began first.
        ("trial-12", "search", 0.84, 0.03, 32, 1),
    ]
    assert ranked[-4:] == [
        ("trial-27", "search", 0.61, 0.003, 16, 1),
        ("trial-29", "search", 0.60, 0.003, 16, 3),
        ("going", "going", 0.55, 0.02, None, None),
        ("small", "final", 0.50, 0.03, 16, None),
    ]
    assert answer.notes == ["best first by accuracy (higher is better); --measure takes another"]
    # An audit by somebody else, in another job, stands beside what the training itself found.
    assert [row["evaluation accuracy"] for row in answer.rows if row["training"] == "final"] == [0.90]
    by_loss = ask(engine, "compare-trainings", {"study": "netherlands-f3", "measure": "loss"})
    assert rows(by_loss, "training", "loss")[:2] == [
        ("trial-16", pytest.approx(0.09)),
        ("trial-15", pytest.approx(0.12)),
    ]
    other = ask(engine, "compare-trainings", {"study": "salt-bodies"})
    assert rows(other, "training", "accuracy", "lr") == [("transfer", 0.66, 0.01)]


def test_best_model_data(engine: Engine) -> None:
    answer = ask(engine, "best-model-data", {"experiment": "final"})
    columns = ("model", "measure", "value", "dataset", "prepared by", "job", "who", "parameter", "setting")
    best = ("models/checkpoint-2.npz", "accuracy", 0.93, "tiles-1.csv")
    assert sorted(rows(answer, *columns), key=str) == [
        (*best, "clean", "curate", "ada", "window", 5),
        (*best, "cut tiles", "prepare", "ben", "seed", 7),
        (*best, "cut tiles", "prepare", "ben", "size", 64),
    ]
    assert {row["dataset digest"] for row in answer.rows} == {sha("tiles of clean b, revision 1")}
    all_of_them = ask(engine, "best-model-data", {"study": "netherlands-f3"})
    assert {(row["experiment"], row["model"]) for row in all_of_them.rows} == {
        ("final", "models/checkpoint-2.npz"),
        ("going", "models/going-1.npz"),
    }


def _origins(engine: Engine, model: str) -> set[tuple[str, str, str]]:
    answer = ask(engine, "model-lineage", {"model": model})
    kinds = ("Dataset", "LearningDataset", "Model")
    return {(row["job"], row["name"], row["digest"]) for row in answer.rows if row["kind"] in kinds}


def test_model_lineage(engine: Engine) -> None:
    tiles, a = sha("tiles of clean b, revision 1"), sha("survey a, as delivered")
    assert _origins(engine, "models/checkpoint-1.npz") == {
        ("final", "models/checkpoint-1.npz", sha("weights of epoch 1")),
        ("final", "models/checkpoint-0.npz", sha("weights of epoch 0")),
        ("final", "tiles-1.csv", tiles),
        ("prepare", "tiles-1.csv", tiles),
        *(("prepare", f"clean/survey-{name}.csv", sha(f"clean {name}, revision 1")) for name in "ab"),
        *(("curate", f"clean/survey-{name}.csv", sha(f"clean {name}, revision 1")) for name in "ab"),
        ("curate", "raw/survey-a.csv", a),
        ("curate", "raw/survey-b.csv", sha("survey b, as delivered")),
    }
    # The other tiles came from the second delivery of one file, and the first of the other.
    later = {(name, digest) for _, name, digest in _origins(engine, "models/transfer.npz")}
    assert {one for one in later if one[0].startswith("raw/")} == {
        ("raw/survey-a.csv", a),
        ("raw/survey-b.csv", sha("survey b, delivered anew")),
    }
    steps = ask(engine, "model-lineage", {"model": "models/transfer.npz"})
    assert {(row["name"], row["who"]) for row in steps.rows if row["kind"] == "DataTransformationExecution"} == {
        ("clean", "ada"),
        ("cut tiles", "ben"),
    }
    raw = [row for row in steps.rows if row["name"] == "raw/survey-b.csv"]
    assert [row["details"] for row in raw] == [{"inlines": 951}]


def test_data_impact(engine: Engine) -> None:
    of_final = {f"models/checkpoint-{epoch}.npz" for epoch in range(3)} | {"models/small.npz"}
    of_dora = {"models/transfer.npz", "models/going-1.npz"}
    found: dict[str, set[str]] = {}
    for row in ask(engine, "data-impact", {"data": "survey-b.csv"}).rows:
        if row["data"].startswith("raw/"):
            found.setdefault(row["digest"], set()).add(row["model"])
    assert found == {sha("survey b, as delivered"): of_final, sha("survey b, delivered anew"): of_dora}
    touched = ask(engine, "data-impact", {"data": "raw/survey-a.csv"})
    assert {row["model"] for row in touched.rows} == of_final | of_dora
    everything = ask(engine, "data-impact")
    assert {row["data"] for row in everything.rows} == {"raw/survey-a.csv", "raw/survey-b.csv"}
    assert everything.notes == ["touched no model: raw/broken.csv"]


def test_training_progress(engine: Engine) -> None:
    done = ask(engine, "training-progress", {"training": "final"})
    values = [
        (row["section"], row["loss"], row["validation accuracy"] if "validation accuracy" in row else row["accuracy"])
        for row in done.rows
    ]
    assert values == [("epoch 0", 0.9, 0.70), ("epoch 1", 0.5, 0.82), ("epoch 2", 0.4, 0.93)]
    now = ask(engine, "training-progress", {"training": "going"})
    assert rows(now, "section", "accuracy") == [("epoch 0", 0.5), ("epoch 1", 0.55)]


def test_who(engine: Engine) -> None:
    answer = ask(engine, "who", {"model": "models/checkpoint-2.npz"})
    assert set(rows(answer, "did", "person", "job")) == {
        ("curated", "ada", "curate"),
        ("prepared", "ben", "prepare"),
        ("trained", "cleo", "final"),
        ("validated", "cleo", "final"),
        ("evaluated", "dora", "audit"),
    }


def test_reproduce(engine: Engine) -> None:
    answer = ask(engine, "reproduce", {"model": "models/checkpoint-2.npz"})
    lines = set(rows(answer, "job", "what", "of", "name", "value"))
    tiles = sha("tiles of clean b, revision 1")
    assert {
        ("final", "code", "job", "code.commit", "4a5b6c"),
        ("final", "code", "job", "train.py", "4a5b6c"),
        ("final", "command", "job", "command.line", "python train.py --final"),
        ("final", "package", "job", "numpy", "2.2.0"),
        ("final", "parameter", "final", "lr", 0.03),
        ("final", "parameter", "final", "width", 64),
        ("final", "input", "learning dataset", "tiles-1.csv", tiles),
        ("final", "output", "model", "models/checkpoint-2.npz", sha("weights of epoch 2")),
        ("prepare", "parameter", "cut tiles", "size", 64),
        ("prepare", "output", "learning dataset", "tiles-1.csv", tiles),
        ("curate", "parameter", "clean", "window", 5),
        ("curate", "input", "dataset", "raw/survey-b.csv", sha("survey b, as delivered")),
    } <= lines
    assert ("curate", "parameter", "clean", "window", 7) not in lines
    # In order of time.
    assert list(dict.fromkeys(job for job, *_ in rows(answer, "job"))) == ["curate", "prepare", "final"]


def test_checkpoint_origin(engine: Engine) -> None:
    answer = ask(engine, "checkpoint-origin", {"model": "checkpoint-1.npz"})
    (row,) = answer.rows
    assert (row["training"], row["section"], row["step"], row["loss"], row["accuracy"]) == (
        "final",
        "epoch 1",
        19,
        0.5,
        0.82,
    )
    assert row["digest"] == sha("weights of epoch 1")
    every = ask(engine, "checkpoint-origin")
    assert rows(every, "model", "step", "section") == [
        ("models/checkpoint-0.npz", 9, "epoch 0"),
        ("models/checkpoint-1.npz", 19, "epoch 1"),
        ("models/checkpoint-2.npz", 29, "epoch 2"),
        ("models/small.npz", None, ""),
        ("models/transfer.npz", None, ""),
        ("models/going-1.npz", 1, "epoch 1"),
    ]


def test_stragglers(engine: Engine) -> None:
    # All ran in one process each: tests/mpi/test_slow_rank.py has a job of several ranks.
    answer = ask(engine, "stragglers", {"training": "final"})
    assert (answer.rows, answer.notes) == ([], ["no section was shared by two ranks or more"])


def test_cost(engine: Engine) -> None:
    answer = ask(engine, "cost", {"study": "netherlands-f3"})
    spent = rows(answer, "training", "accuracy", "wall s", "rank hours", "GPU hours", "energy Wh")
    assert [row[:2] for row in spent[:2]] == [("final", 0.93), ("trial-16", 0.91)]
    assert len(spent) == 39
    for _, _, wall, hours, gpu, energy in spent:
        assert wall > 0
        assert hours == pytest.approx(wall / 3600)  # one rank
        assert gpu is energy is None
    assert any("1 of them did not end" in note for note in answer.notes)


def test_there_are_ten_and_the_list_says_what_each_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(catalog()) == TEN
    assert main(["query", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert tuple(names) == TEN
    for name in TEN:
        assert lines[lines.index(name) + 1].strip() in f"{catalog()[name].question}."
    assert max(map(len, lines)) <= 100
    for option in ("--model", "--study", "--measure"):
        assert any(line.strip().startswith(option) for line in lines)


@pytest.mark.parametrize("name", [name for name in TEN if name != "stragglers"])
def test_programs_get_the_same_rows_in_both_formats(name: str, engine: Engine) -> None:
    answer = ask(engine, name)
    from_json = json.loads(as_json(answer))
    from_csv = list(csv.DictReader(io.StringIO(as_csv(answer))))
    assert len(from_json) == len(from_csv) == len(answer.rows) > 0
    for one, other in zip(from_json, from_csv, strict=True):
        assert list(one) == list(other) == answer.columns
        for key, value in one.items():
            if isinstance(value, str):
                assert other[key] == value
            elif isinstance(value, float):
                assert float(other[key]) == value


def test_the_command_takes_all_files_and_the_one_that_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(folder / file) for file in forty.FILES]
    wanted = ["--study", "netherlands-f3", "--measure", "loss", "--format", "csv"]
    assert main(["query", *files, "compare-trainings", *wanted]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (table[0]["training"], table[0]["outcome"]) == ("trial-16", "completed")
    assert len(table) == 39
    assert main(["query", *files, "who", "--model", "models/going-1.npz"]) == 0
    said = capsys.readouterr().out
    assert {"curated", "prepared", "trained", "ada", "ben", "dora"} <= set(said.split())
    assert "cleo" not in said
