"""Nine jobs of four people on one survey, captured as people write them; what comes of it is known by heart.

Ada cleans two files of a survey and looks at a third that is broken. Ben makes tiles of the two. Then the second file
is delivered anew: Ada cleans the new revision, and Ben makes new tiles. Cleo searches with 36 trials on the first
tiles, and trains twice more on them. Dora evaluates Cleo's model, trains for another study on the new tiles, and has a
training on them that is still going on. The numbers below are all that the answers depend on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import provml_hpc as provml
from provml_hpc.capture import facts
from provml_hpc.environment import Fact

STUDY = "netherlands-f3"
FILES = (
    *("curate-1.h5", "prepare-1.h5", "curate-2.h5", "prepare-2.h5"),
    *("search.h5", "final.h5", "audit.h5", "transfer.h5", "going.h5.partial"),
)

RATES = (0.1, 0.03, 0.01, 0.003)
WIDTHS = (16, 32, 64)
SEEDS = (1, 2, 3)
ACCURACY = (
    *(0.71, 0.70, 0.69, 0.74, 0.73, 0.72, 0.76, 0.75, 0.77),  # lr 0.1: widths 16, 32, 64, of each the seeds 1, 2, 3
    *(0.81, 0.80, 0.82, 0.84, 0.83, 0.85, 0.88, 0.91, 0.87),  # 0.03
    *(0.78, 0.79, 0.781, 0.80, 0.81, 0.79, 0.83, 0.82, 0.84),  # 0.01
    *(0.61, 0.62, 0.60, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68),  # 0.003
)
"""What each trial of the search reached. The best is number 16: lr 0.03, width 64, seed 2."""

FINAL = ((0.9, 0.70), (0.5, 0.82), (0.4, 0.93))
"""Loss and accuracy of each epoch of the final training; the accuracy is that of a validation."""


def _machine(scope: str, *asked: object) -> list[Fact]:
    """Return what this story's machine is like: what the real one is has tests of its own."""
    return (
        [
            Fact("command.script", "/home/cleo/train.py"),
            Fact("command.line", "python train.py --final"),
            Fact("code.commit", "4a5b6c"),
            Fact("code.dirty", False),
            Fact("package.numpy", "2.2.0"),
        ]
        if scope == "run"
        else []
    )


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before, found = Path.cwd(), facts.collect
    os.chdir(folder)
    facts.collect = _machine
    try:
        yield
    finally:
        os.chdir(before)
        facts.collect = found


def write(path: str, text: str) -> str:
    """Write a file, and return its name."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


@contextmanager
def captured(folder: Path) -> Iterator[Path]:
    """Capture all jobs into a folder, in which the last is still going on within the block."""
    with _inside(folder):
        for name in "ab":
            write(f"raw/survey-{name}.csv", f"survey {name}, as delivered")
        write("raw/broken.csv", "cut off")
        _curate("curate-1.h5", ("a", "b"), window=5, revision=1, broken=True)
        _prepare("prepare-1.h5", "tiles-1.csv")
        write("raw/survey-b.csv", "survey b, delivered anew")
        _curate("curate-2.h5", ("b",), window=7, revision=2)
        _prepare("prepare-2.h5", "tiles-2.csv")
        _search()
        _final()
        _audit()
        _transfer()
        with _going():
            yield folder


def _curate(output: str, names: tuple[str, ...], *, window: int, revision: int, broken: bool = False) -> None:
    with provml.init("curate", phase="curation", study=STUDY, output=output, persona="ada") as run:
        for name in names:
            with run.activity("clean", params={"window": window}) as step:
                raw = step.use_dataset(
                    f"raw/survey-{name}.csv", characteristics={"inlines": {"a": 651, "b": 951}[name]}
                )
                made = write(f"clean/survey-{name}.csv", f"clean {name}, revision {revision}")
                step.generate_dataset(made, derived_from=[raw])
        if broken:
            with run.activity("look at", use=["raw/broken.csv"]) as step:
                step.log_values({"verdict": "rejected"})


def _prepare(output: str, made: str) -> None:
    with (
        provml.init("prepare", phase="preparation", study=STUDY, output=output, persona="ben") as run,
        run.activity(
            "cut tiles", use=["clean/survey-a.csv", "clean/survey-b.csv"], params={"size": 64, "seed": 7}
        ) as step,
    ):
        write(made, f"tiles of {Path('clean/survey-b.csv').read_text()}")
        step.generate_dataset(made, characteristics={"tiles": 1437})


def _search() -> None:
    with provml.init("search", phase="learning", study=STUDY, output="search.h5", persona="cleo") as run:
        tiles = run.use_dataset("tiles-1.csv")
        trials = [(rate, width, seed) for rate in RATES for width in WIDTHS for seed in SEEDS]
        for number, ((rate, width, seed), accuracy) in enumerate(zip(trials, ACCURACY, strict=True)):
            params = {"lr": rate, "width": width, "seed": seed}
            with run.training(f"trial-{number:02}", task="classification", use=[tiles], params=params) as training:
                training.log(0, loss=1 - accuracy)
                training.evaluate(accuracy=accuracy, loss=1 - accuracy)


def _final() -> None:
    with provml.init("final", phase="learning", study=STUDY, output="final.h5", persona="cleo") as run:
        tiles = run.use_dataset("tiles-1.csv", role="training")
        said: dict[str, Any] = {"measures": "accuracy", "procedure": "hold-out of 20 %"}
        with run.training("final", algorithm="SGD", use=[tiles], params={"lr": 0.03, "width": 64}, **said) as training:
            for epoch in training.sections("epoch", len(FINAL)):
                loss, accuracy = FINAL[epoch.index]
                for step in range(10 * epoch.index, 10 * epoch.index + 10):
                    training.log(step, loss=loss)
                model = epoch.log_model(
                    write(f"models/checkpoint-{epoch.index}.npz", f"weights of epoch {epoch.index}"),
                    step=10 * epoch.index + 9,
                    params={"layers": 3},
                )
                epoch.evaluate(loss=loss)
                with epoch.validation(use=[model, tiles]) as validation:
                    validation.evaluate(accuracy=accuracy, model=model)
        with run.training("small", use=[tiles], params={"lr": 0.03, "width": 16}, **said) as training:
            training.evaluate(accuracy=0.50)
            training.log_model(write("models/small.npz", "small weights"), params={"layers": 1})


def _audit() -> None:
    with (
        provml.init("audit", phase="learning", study=STUDY, output="audit.h5", persona="dora") as run,
        run.evaluation("audit", use=["tiles-2.csv"]) as evaluation,
    ):
        model = evaluation.use_model("models/checkpoint-2.npz")
        evaluation.evaluate(accuracy=0.90, model=model)


def _transfer() -> None:
    with (
        provml.init("transfer", phase="learning", study="salt-bodies", output="transfer.h5", persona="dora") as run,
        run.training("transfer", use=["tiles-2.csv"], params={"lr": 0.01}) as training,
    ):
        training.evaluate(accuracy=0.66)
        training.log_model(write("models/transfer.npz", "transferred weights"))


@contextmanager
def _going() -> Iterator[None]:
    with (
        provml.init("going", phase="learning", study=STUDY, output="going.h5", persona="dora") as run,
        run.training("going", use=["tiles-2.csv"], params={"lr": 0.02}) as training,
    ):
        for epoch in training.sections("epoch", 5):
            training.log(epoch.index, loss=0.8 - epoch.index / 10)
            epoch.evaluate(accuracy=0.5 + epoch.index / 20)
            if epoch.index == 1:
                epoch.log_model(write("models/going-1.npz", "weights so far"), step=1)
                run.flush()
                yield
                return
