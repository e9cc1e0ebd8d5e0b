"""Trainings beside each other, and one training epoch by epoch: long rows made into tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provml_tools.query.answer import Answer, Options, common_names, when
from provml_tools.query.engine import Engine, Iri, Row
from provml_tools.query.measured import Measured, Measures, judged_by
from provml_tools.query.measures import deciding, is_lower_better, sort_key
from provml_tools.query.named import NamedQuery
from provml_tools.query.provenance import Provenance
from provml_tools.query.ranks import overlap

_NEAREST = ("hyperparameter", "inner hyperparameter", "model hyperparameter")
_ORDER = ("", "validation", "evaluation", "logged")


class Training:
    """What is known of one training."""

    def __init__(self, row: Row) -> None:
        self.iri = str(row["training"])
        self.name = str(row["what"] or "training")
        self.ranks = str(row["by"] or "")
        self.outcome = str(row["outcome"] or "")
        self.started = row["started"]
        self.experiments: dict[str, None] = {}
        self.studies: dict[str, None] = {}
        self.hyperparameters: dict[str, Any] = {}
        self.measures: dict[tuple[str, str], Any] = {}
        self._rank_of: dict[str, tuple[int, ...]] = {}
        self._time_of: dict[tuple[str, str], tuple[int, ...]] = {}

    def take(self, row: Row) -> None:
        """Take in one row."""
        if row["kind"] == "training":
            for names, column in ((self.experiments, "experiment"), (self.studies, "study")):
                if row[column]:
                    names[str(row[column])] = None
            return
        kind, what, value = str(row["kind"] or ""), str(row["what"] or ""), row["value"]
        time = row["time"] if isinstance(row["time"], int) else 0
        if kind in _NEAREST:
            # The nearest wins, of equally near ones that which was said by this training's ranks, then the first.
            rank = (-_NEAREST.index(kind), time, int(overlap(self.ranks, str(row["by"] or ""))))
            if what not in self.hyperparameters or rank > self._rank_of[what]:
                self.hyperparameters[what], self._rank_of[what] = value, rank
        else:
            at = (time, row["step"] if isinstance(row["step"], int) else 0)
            self._keep((what, kind), value, at)
            if kind in ("measure", "validation"):
                self._keep((what, ""), value, at)

    def _keep(self, key: tuple[str, str], value: Any, at: tuple[int, int]) -> None:
        if key not in self.measures or at >= self._time_of[key]:
            self.measures[key], self._time_of[key] = value, at

    def tidy(self, mixed: set[str]) -> None:
        """Leave out what a measure was by source, but for validations where a training has values of its own too."""
        for what, source in list(self.measures):
            if source == "measure" or (source == "validation" and what not in mixed):
                del self.measures[what, source]


def gather(rows: Sequence[Row]) -> list[Training]:
    """Make trainings of the long rows of ``compare-trainings.rq``, in order of start."""
    found = {str(row["training"]): Training(row) for row in rows if row["kind"] == "training"}
    for row in rows:
        one = found.get(str(row["training"]))
        if one is not None:
            one.take(row)
    mixed = {
        what
        for one in found.values()
        for what, source in one.measures
        if source == "validation" and (what, "measure") in one.measures
    }
    for one in found.values():
        one.tidy(mixed)
    return sorted(found.values(), key=lambda one: (one.started if isinstance(one.started, int) else 0, one.iri))


def _add_evaluations(engine: Engine, trainings: list[Training]) -> None:
    """Add what evaluations outside the trainings measured on the models that the trainings made."""
    known = Provenance(engine)
    measures = Measures(engine, known)
    by_iri = {one.iri: one for one in trainings}
    latest: dict[tuple[str, str], Measured] = {}
    for model in sorted(iri for iri, thing in known.things.items() if thing.cls == "Model"):
        makers = (whole for activity in known.generations(model) for whole in known.wholes(activity))
        training = next((by_iri[one] for one in makers if one in by_iri), None)
        if training is not None:
            for what, one in measures.elsewhere(model, training.iri).items():
                key = (training.iri, what)
                if key not in latest or one.order >= latest[key].order:
                    latest[key] = one
                    training.measures[what, "evaluation"] = one.value


@dataclass
class Ranking:
    """Trainings beside each other, best first."""

    trainings: list[Training]
    measured: list[str]
    """The columns of all measures, those of the most telling source first."""
    column_of: dict[tuple[str, str], str]
    """The column of each measure and source."""
    results: list[str]
    """The columns that people want to see: what was measured, or what was logged where that is all there is."""
    best: str | None = None
    """The column that decides."""
    lower: bool = False
    """Whether less of it is better."""

    def values(self, one: Training) -> dict[str, Any]:
        """Return what a training reached, by column."""
        return {self.column_of[key]: value for key, value in one.measures.items()}

    @property
    def note(self) -> str:
        """What a person should know of the order."""
        if self.best is None:
            return "nothing was measured, so the trainings stand in order of start"
        return f"best first by {self.best} ({'lower' if self.lower else 'higher'} is better); --measure takes another"


def _said_to_decide(engine: Engine, trainings: list[Training], columns: list[str]) -> list[str]:
    """Return the columns of the measures that the trainings, or the tries inside them, were said to be judged by."""
    judged = judged_by(engine)
    said = {what for one in trainings for what in judged.get(one.iri, ())}
    return [name for name in columns if name.removeprefix("validation ").removeprefix("evaluation ") in said]


def rank_trainings(engine: Engine, query: NamedQuery, options: Options) -> Ranking:
    """Put trainings in order by the measure that was asked for, else by one that they were said to be judged by.

    Where neither was said, the one that most of them have decides.

    Parameters
    ----------
    engine
        The runs.
    query
        ``compare-trainings``.
    options
        Its parameters.
    """
    trainings = gather(engine.select(query.bind(options.values)))
    _add_evaluations(engine, trainings)
    all_keys = sorted({key for one in trainings for key in one.measures})
    keys = [key for source in _ORDER for key in all_keys if key[1] == source]
    column_of = common_names(keys)
    counts = Counter(column_of[key] for one in trainings for key in one.measures)
    measured = list(dict.fromkeys(column_of[key] for key in keys))
    logged = {column_of[key] for key in keys if key[1] == "logged"}
    wanted = options.get("measure")
    # A value that was logged at some step is less of a result than one that was measured.
    results = [name for name in measured if name not in logged] or measured
    found = Ranking(trainings, measured, column_of, results)
    if trainings:
        among = measured if wanted else _said_to_decide(engine, trainings, results) or results
        found.best = deciding({name: counts[name] for name in among}, wanted)
    if found.best is not None:
        found.lower = is_lower_better(found.best, options.get("direction"))
        by = {one.iri: found.values(one) for one in trainings}
        trainings.sort(key=lambda one: sort_key(by[one.iri].get(str(found.best)), found.lower))
    return found


def compare(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Put each training in one row, best first."""
    ranking = rank_trainings(engine, query, options)
    trainings, measured, best = ranking.trainings, ranking.measured, ranking.best
    knobs = sorted({name for one in trainings for name in one.hyperparameters})
    taken = {"training", "experiment", "study", "outcome", "ranks", "started", "iri"} | set(measured)
    knob_column = {name: f"{name} (hyperparameter)" if name in taken else name for name in knobs}
    rows = []
    for one in trainings:
        row: dict[str, Any] = {
            "training": one.name,
            "experiment": ", ".join(one.experiments),
            "study": ", ".join(one.studies),
            "outcome": one.outcome,
            "ranks": one.ranks,
            "started": when(one.started),
        }
        row |= {knob_column[name]: one.hyperparameters.get(name) for name in knobs}
        row |= dict.fromkeys(measured)
        row |= ranking.values(one)
        row["iri"] = Iri(one.iri)
        rows.append(row)
    settings = [knob_column[name] for name in knobs]
    columns = ["training", "experiment", "study", "outcome", "ranks", "started", *settings, *measured, "iri"]
    answer = Answer(columns, rows, query.title)
    answer.shown = [
        "training",
        "experiment",
        *settings,
        *(one for one in measured if one in ranking.results or one == best),
    ]
    if len({row["study"] for row in rows}) > 1:
        answer.shown.insert(2, "study")
    if len({(row["training"], row["experiment"]) for row in rows}) < len(rows):
        answer.shown.insert(1, "ranks")
    if any(row["outcome"] not in ("completed", "") for row in rows):
        answer.shown.insert(2, "outcome")
    if rows and (best is None or len(rows) > 1):
        answer.notes.append(ranking.note)
    return answer
