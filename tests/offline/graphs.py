"""Graphs made by hand and at random, for tests of what reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from provml_hpc import identity, records, vocabulary
from provml_hpc.assembly.graph import ABSENT, VALUE_TYPES, Column, Graph, RunInfo, SampleTable, Table, column_names
from tests.unit.assembly.builder import TRAINING, FakeFrames
from tests.unit.assembly.test_telemetry import FULL, counters, gpu

RUN = "3f0d2a44-1111-4222-8333-0123456789ab"
OTHER_RUN = "9a0d2a44-1111-4222-8333-0123456789ab"
NOON = 1_700_000_000_123_456_789
"""A moment that is no whole microsecond: 2023-11-14T22:13:20.123456789Z."""

_EMPTY: Mapping[str, Any] = {"text": "", "type": "absent", "integer": ABSENT, "real": math.nan, "boolean": False}
_DTYPES: Mapping[str, Any] = {"integer": np.int64, "real": np.float64, "boolean": np.bool_}


class GraphMaker:
    """Builds a graph row by row."""

    def __init__(self, run: str = RUN, **info: Any) -> None:
        known = {
            "name": "facies-unet",
            "phase": "learning",
            "authority": "example.org",
            "status": "finished",
            "started_ns": NOON,
            "committed_ns": NOON + 10**9,
            "writer": "provml-hpc 0.1.0",
            "file": "/data/facies.h5",
        }
        self.info = RunInfo(uuid=run, **(known | info))
        self.classes: list[str] = []
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._links: dict[str, list[dict[str, Any]]] = {}
        self.samples: list[SampleTable] = []

    def node(self, cls: str, /, uuid: str | None = None, **fields: Any) -> int:
        """Add a node and return its id."""
        at = len(self.classes)
        self.classes.append(cls)
        uuid = uuid or identity.local(self.info.uuid, "node", at)
        self._rows.setdefault(cls, []).append({"id": at, "uuid": uuid, **fields})
        return at

    def relate(self, name: str, subject: int, target: int, **fields: Any) -> None:
        """Add a relation."""
        self._links.setdefault(name, []).append({"subject": subject, "object": target, **fields})

    def sample(self, activity: int, measures: Sequence[str], rows: Sequence[tuple[float, ...]]) -> None:
        """Add samples: rank, attempt, section, step, time_ns, and a value a measure."""
        names = ("rank", "attempt", "section", "step", "time_ns", *measures)
        columns = {
            name: np.array([row[at] for row in rows], np.int64 if at < 5 else np.float64)
            for at, name in enumerate(names)
        }

        def read(start: int, stop: int) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
            return {name: column[start:stop] for name, column in columns.items()}

        self.samples.append(SampleTable("+".join(measures), activity, tuple(measures), len(rows), read))

    def graph(self) -> Graph:
        """Return the graph."""
        ids, uuid = (vocabulary.Field(n, t, "", "") for n, t in (("id", "integer"), ("uuid", "text")))
        ends = tuple(vocabulary.Field(n, "integer", "", "") for n in ("subject", "object"))
        nodes = {cls: _table(cls, (ids, uuid, *vocabulary.fields(cls)), rows) for cls, rows in self._rows.items()}
        links = {
            name: _table(name, (*ends, *vocabulary.RELATION[name].fields), rows) for name, rows in self._links.items()
        }
        return Graph(self.info, nodes, links, self.samples)


def _table(name: str, fields: tuple[vocabulary.Field, ...], rows: list[dict[str, Any]]) -> Table:
    columns: dict[str, Column] = {}
    known: set[str] = set()
    for column, kind in column_names(fields):
        values = [row.get(column, _EMPTY[kind]) for row in rows]
        columns[column] = np.array(values, _DTYPES[kind]) if kind in _DTYPES else values
        known.add(column)
    strange = {key for row in rows for key in row} - known
    assert not strange, f"{name} has no {strange}"
    return Table(name, columns)


def learning_graph(run: str = RUN) -> Graph:
    """Return a small learning job with at least one of everything that RDF treats in its own way."""
    make = GraphMaker(run)
    plan = make.node(
        "LearningExperiment", identity.named("example.org", "LearningExperiment", "facies-unet"), label="facies-unet"
    )
    job = make.node(
        "LearningExperimentExecution", run, label="facies-unet", start_ns=NOON, end_ns=NOON + 9, outcome="completed",
        attempt=1, ranks="0-1", phase="learning", run=run,
    )  # fmt: skip
    training_plan = make.node("Training", label="training")
    training = make.node(
        "TrainingExecution", label="training", start_ns=NOON + 1, end_ns=NOON + 8, outcome="completed", ranks="0-1"
    )
    epoch = make.node(
        "LearningStageSectionExecution", label="epoch", section_kind="epoch", section_index=0, start_ns=NOON + 2
    )
    parts = [
        make.node("RankExecution", label=f"rank {rank}", rank=rank, start_ns=NOON + 1 + rank, end_ns=NOON + 7 + rank)
        for rank in range(2)
    ]
    ranks = [make.node("Rank", label=f"rank {rank}", rank=rank, pid=4000 + rank, attempt=1) for rank in range(2)]
    person = make.node("Persona", label="Ada", identifier="https://orcid.org/0000-0002-1825-0097")
    study = make.node("Study", identity.named("example.org", "Study", "netherlands-f3"), label="netherlands-f3")
    tiles = make.node(
        "LearningDataset", label="tiles.h5", path="/data/tiles.h5", size=2**40, modified_ns=NOON - 5,
        digest_state="whole", attempt=1, ranks="0-1",
    )  # fmt: skip
    shard = make.node("Dataset", label="tiles-0.h5")
    bytes_ = make.node(
        "Content", identity.content("sha256", "ab" * 32, 2**40), algorithm="sha256", digest="ab" * 32, size=2**40
    )
    model = make.node("Model", label='unet "best".npz', step=12, path="/data/unet.npz")
    measure = make.node("EvaluationMeasure", label="loss")
    score = make.node("ModelEvaluation", label="accuracy", value="0.93", value_type="real", step=12, time_ns=NOON + 7)
    series = make.node(
        "MetricSeries", label="loss", count=3, minimum=-math.inf, maximum=0.5, by_rank='{"0":[3,-1,0.5,0.1]}'
    )
    for name, text, kind in (
        ("lr", "0.001", "real"), ("batch_size", "64", "integer"), ("nesterov", "true", "boolean"), ("name", "", "text"),
        ("depth", "", "none"), ("layers", "[1, 2]", "json"), ("since", "2023-11-14T22:13:20.123456789Z", "time"),
        ("clip", "inf", "real"), ("floor", "-inf", "real"), ("odd", "nan", "real"),
    ):  # fmt: skip
        value = make.node("LearningHyperparameterValue", label=name, value=text, value_type=kind)
        make.relate("used", training, value, time_ns=NOON + 2, ranks="0-1")
    make.relate("wasAssociatedWith", job, person, plan=plan, role="scientist")
    make.relate("wasAssociatedWith", training, ranks[0], plan=training_plan)
    for part, rank in zip(parts, ranks, strict=True):
        make.relate("isPartOf", part, training)
        make.relate("wasAssociatedWith", part, rank)
    make.relate("isPartOf", training, job)
    make.relate("isPartOf", epoch, training)
    make.relate("used", training, tiles, role="validation", time_ns=NOON + 3, ranks="1")
    make.relate("used", training, tiles, role="training", time_ns=NOON + 2, ranks="0-1")
    make.relate("hasInput", training, tiles)
    make.relate("hasOutput", training, model)
    make.relate("wasGeneratedBy", model, epoch, time_ns=NOON + 6, ranks="0")
    make.relate("wasGeneratedBy", score, epoch, time_ns=NOON + 7)
    make.relate("wasGeneratedBy", series, training)
    make.relate("valueOf", series, measure)
    make.relate("specifiedBy", score, measure)
    make.relate("specializationOf", tiles, bytes_)
    make.relate("hadMember", tiles, shard)
    make.relate("hadMember", study, plan)
    make.relate("actedOnBehalfOf", ranks[0], person)
    make.sample(
        training,
        ("loss",),
        [
            (0, 1, epoch, 0, NOON + 3, 0.5),
            (0, 1, epoch, 1, NOON + 4, math.nan),
            (1, 1, ABSENT, ABSENT, NOON + 4, -math.inf),
        ],
    )
    return make.graph()


HOSTILE = (
    '" .\n<urn:x:a> <urn:x:b> <urn:x:c> .\n',
    '"@en',
    '"^^<http://www.w3.org/2001/XMLSchema#integer>',
    "\\",
    '\\"',
    "'''\"\"\"",
    "> <urn:x:a> .",
    "\r\n\t\b\f\x0b\x1b\x7f\x85\u2028\u2029",
    "\\u0022 \\n",
    "\ufeff\ufffe\uffff\U0010ffff",
    "{}%s%(x)s{0}",
    "# no comment",
    "</script>]]>&amp;",
    "é ü 漢字 😀 \u202e",
)

texts = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12
)
"""Text as capture lets it through: neither NUL nor surrogates."""

_integers = st.integers(-(2**63) + 1, 2**63 - 1)
_numbers = st.floats(width=64)
_value_of = {
    "text": texts,
    "integer": st.integers().map(str),
    "real": _numbers.map(repr),
    "boolean": st.sampled_from(["true", "false"]),
    "none": st.just(""),
    "json": texts,
    "time": _integers.map(str),
    "absent": st.just(""),
}


@st.composite
def _fields(draw: st.DrawFn, fields: tuple[vocabulary.Field, ...], ids: Sequence[int]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in fields:
        if field.type == "value":
            kind = draw(st.sampled_from(VALUE_TYPES))
            row |= {field.name: draw(_value_of[kind]), field.name + "_type": kind}
        elif draw(st.booleans()):
            row[field.name] = draw(
                {
                    "text": texts,
                    "integer": _integers,
                    "time": _integers,
                    "real": _numbers,
                    "boolean": st.booleans(),
                    "reference": st.sampled_from(ids),
                }[field.type]
            )
    return row


@st.composite
def graphs(draw: st.DrawFn, run: str = RUN) -> Graph:
    """Draw a graph of any classes, with any text, whose relations keep to the vocabulary's domains and ranges."""
    make = GraphMaker(run, **draw(st.fixed_dictionaries({"name": texts, "authority": texts, "file": texts})))
    classes = [cls.name for cls in vocabulary.CLASSES if not cls.abstract]
    for cls in draw(st.lists(st.sampled_from(classes), max_size=12)):
        make.node(cls, **draw(_fields(vocabulary.fields(cls), [])))
    plans = [at for at, cls in enumerate(make.classes) if "prov:Plan" in vocabulary.CLASS[cls].prov]
    possible = [
        (relation, at, to)
        for relation in vocabulary.RELATIONS
        for at, one in enumerate(make.classes)
        for to, other in enumerate(make.classes)
        if vocabulary.may_relate(relation, one, other)
    ]
    for relation, at, to in draw(st.lists(st.sampled_from(possible), max_size=12)) if possible else ():
        fields = tuple(field for field in relation.fields if plans or field.type != "reference")
        make.relate(relation.name, at, to, **draw(_fields(fields, plans)))
    activities = [at for at, cls in enumerate(make.classes) if "prov:Activity" in vocabulary.CLASS[cls].prov]
    if activities:
        row = st.tuples(
            *(_integers for _ in range(2)), st.sampled_from([ABSENT, *activities]), _integers, _integers, _numbers
        )
        measure = draw(texts.filter(lambda text: text not in {"rank", "attempt", "section", "step", "time_ns"}))
        make.sample(draw(st.sampled_from(activities)), (measure,), draw(st.lists(row, max_size=3)))
    return make.graph()


def sampled_training() -> Graph:
    """Return a training of two ranks, one on a GPU and one on a slice of another, sampled."""
    frames = FakeFrames(2)
    ranks, sampler = frames.ranks(), frames.rank(0, lane=records.TELEMETRY_LANE)
    handles = [rank.open(TRAINING, "t") for rank in ranks]
    whole = gpu(sampler, 0, by={0: records.BY_PROCESS})
    other = gpu(sampler, 1)
    part = gpu(sampler, 7, parent=other, by={1: "CUDA_VISIBLE_DEVICES"})
    sampler(records.Fact("telemetry", "lost", "text", "GPU is lost", whole))
    sampler(records.Fact("telemetry", "telemetry.hz", "real", "1.0"))
    of = [
        (counters(sampler, 1, FULL, device=whole), 2),
        (counters(sampler, 2, {"memory_used_B": "B"}, device=part), 1),
        (counters(sampler, 3, {"cpu_percent": "%"}), 1),
        (counters(sampler, 4, {"cpu_s": "s"}, rank=1), 1),
    ]
    for turn in range(3):
        for number, width in of:
            sampler.sample(number, turn, *[float(turn)] * width)
    for rank, handle in zip(ranks, handles, strict=True):
        rank.close(handle)
        rank.end()
    return frames.view().graph
