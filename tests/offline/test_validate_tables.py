"""Tables and documents are checked alike: what the arrays of a graph give, its statements give one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc.assembly.graph import ABSENT, Graph
from provml_tools.validate import findings, kinds, ordering, tables
from provml_tools.validate.findings import Finding, More
from provml_tools.validate.instance import ARGUMENTS, Instance
from provml_tools.validate.nodes import Names, Nodes, keys_of
from provml_tools.validate.prov import check, check_runs
from tests.offline.graphs import NOON, OTHER_RUN, GraphMaker
from tests.offline.test_validate import small_graph

_KINDS = (
    "Dataset",
    "Model",
    "DataTransformationExecution",
    "TrainingExecution",
    "Persona",
    "Rank",
    "Content",
    "Training",
)
_RELATIONS = {
    "used": ("time_ns",),
    "wasGeneratedBy": ("time_ns",),
    "wasDerivedFrom": (),
    "wasRevisionOf": (),
    "specializationOf": (),
    "wasInformedBy": (),
    "wasAssociatedWith": ("plan",),
    "wasAttributedTo": (),
    "actedOnBehalfOf": (),
    "hadMember": (),
}
_FEW_UUIDS = [f"0f0d2a44-1111-4222-8333-00000000000{n}" for n in range(4)]


def statements_of(graphs: list[Graph]) -> Instance:
    """Return what graphs say, statement by statement."""
    instance = Instance(describe=Names([Nodes(graph) for graph in graphs]))
    for graph in graphs:
        uuids: dict[int, str] = {}
        for cls, table in graph.nodes.items():
            for row in table.rows():
                uuid = uuids[row["id"]] = row["uuid"]
                for kind in sorted(tables.kinds_of(cls)):
                    times = [row.get("start_ns"), row.get("end_ns")] if kind == "activity" else []
                    instance.say(kind, uuid, uuid, *(None if time == ABSENT else time for time in times))
        for name, table in graph.relations.items():
            for row in table.rows():
                more: list[Any] = [None if row[at] == ABSENT else row[at] for at in _RELATIONS.get(name, ())]
                if name == "wasAssociatedWith":
                    more = [None if more[0] is None else uuids[more[0]]]
                kind = {"wasRevisionOf": "wasDerivedFrom"}.get(name, name)
                if kind in ARGUMENTS:
                    instance.say(kind, None, uuids[row["subject"]], uuids[row["object"]], *more)
    return instance


def _told(found: Any) -> Counter[tuple[Any, ...]]:
    return Counter((one.number, one.record, one.severity) for one in found if isinstance(one, Finding))


@st.composite
def crooked(draw: st.DrawFn, run: str = "") -> Graph:
    """Draw a graph of which anything may be wrong but its ids: times, circles, two makers, classes, the same uuids."""
    make = GraphMaker(run) if run else GraphMaker()
    times = st.sampled_from([ABSENT, NOON, NOON + 5 * 10**9, NOON + 9 * 10**9, 2**63 - 1])
    used: set[str] = set()
    for number in range(draw(st.integers(1, 7))):
        cls = draw(st.sampled_from(_KINDS))
        fields: dict[str, Any] = {"label": f"n{number}"} if cls != "Content" else {}
        if cls.endswith("Execution"):
            fields |= {"start_ns": draw(times), "end_ns": draw(times)}
        uuid = draw(st.sampled_from(_FEW_UUIDS))
        make.node(cls, **fields) if uuid in used else make.node(cls, uuid, **fields)
        used.add(uuid)
    ends = st.integers(0, len(make.classes) - 1)
    for _ in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from(sorted(_RELATIONS)))
        more = {
            at: draw(times) if at == "time_ns" else draw(st.one_of(st.just(ABSENT), ends)) for at in _RELATIONS[name]
        }
        make.relate(name, draw(ends), draw(ends), **more)
    return make.graph()


@given(crooked(), st.sampled_from([0, 10**9]))
def test_tables_and_statements_give_the_same_findings(graph: Graph, tolerance: int) -> None:
    expected = _told(check(statements_of([graph]), tolerance=tolerance))
    assert _told(check_runs([Nodes(graph)], tolerance=tolerance)) == expected


@given(crooked(), crooked(OTHER_RUN))
def test_so_do_those_of_two_runs_together(one: Graph, other: Graph) -> None:
    expected = _told(check(statements_of([one, other])))
    assert _told(check_runs([Nodes(one), Nodes(other)])) == expected


def test_a_time_that_was_said_once_is_that_of_all_that_is_one() -> None:
    make = GraphMaker()
    data = make.node("Dataset", label="d")
    makers = [make.node("DataTransformationExecution", label=name) for name in "ab"]
    for maker, time in ((0, ABSENT), (1, NOON), (0, NOON + 5 * 10**9), (0, ABSENT)):
        make.relate("wasGeneratedBy", data, makers[maker], time_ns=time)
    graph = make.graph()
    found = _told(check_runs([Nodes(graph)]))
    assert found == _told(check(statements_of([graph])))
    assert [number for number, *_ in found] == [39]


def test_of_many_findings_some_are_told_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    make = small_graph()
    training = make.classes.index("TrainingExecution")
    for number in range(7):
        make.node("Dataset", label=f"d{number}")
        late = len(make.classes) - 1
        make.relate("used", training, late, time_ns=NOON + 10**12)
        make.relate("wasDerivedFrom", late, late)
        make.relate("specializationOf", late, late)
        make.relate("wasInformedBy", training, late)
    graph = make.graph()
    reports = []
    for limit in (findings.LIMIT, 3):
        for module in (kinds, ordering, tables):
            monkeypatch.setattr(module, "LIMIT", limit)
        report = findings.Report("test", ("prov",), limit=limit)
        found = list(check_runs([Nodes(graph)]))
        report.extend(found)
        reports.append(report)
        assert any(isinstance(one, More) for one in found) == (limit == 3)
    assert reports[0].counted == reports[1].counted
    assert reports[0].violations == reports[1].violations == 28
    assert set(Counter(one.constraint for one in reports[1].findings).values()) == {3}


def test_uuids_as_numbers_are_equal_where_the_texts_are() -> None:
    uuids = ["0f0d2a44-1111-4222-8333-0123456789ab", "0f0d2a44-1111-4222-8333-0123456789ac"]
    odd = ["no uuid", "x" * 36, "0f0d2a44-1111-4222-8333-0123456789A\n", "é" * 18]
    texts = [*uuids, *odd, *uuids, *odd]
    keys = keys_of(texts)
    assert len(np.unique(keys, axis=0)) == len(set(texts))
    assert np.array_equal(keys[:6], keys[6:])
    assert np.array_equal(keys_of(uuids), keys[:2])
    assert keys_of([]).shape == (0, 2)


def test_names_are_those_of_the_last_run_that_knows_a_node() -> None:
    one, other = GraphMaker(), GraphMaker(OTHER_RUN)
    for make, name in ((one, "Ada"), (other, "Countess")):
        make.node("Persona", _FEW_UUIDS[0], label=name)
        make.node("Dataset", label="d")
    names = Names([Nodes(one.graph()), Nodes(other.graph())])
    assert names(_FEW_UUIDS[0]) == f"Persona 'Countess' <{_FEW_UUIDS[0]}>"
    assert names(_FEW_UUIDS[1]) == f"<{_FEW_UUIDS[1]}>"
