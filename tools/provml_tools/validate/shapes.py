"""The shapes of PROV-ML, run as SPARQL on the RDF of files: what ``docs/ontology/shapes.ttl`` says, compiled.

Each target is gone through once for all its rules together. Only where something is found there, each rule is asked
for by itself, so that a file without faults costs few queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from provml_hpc.errors import UsageError
from provml_hpc.vocabulary import NAMESPACES
from provml_tools.ontology.rules import CLASS, On, Shape, shapes
from provml_tools.ontology.shacl import message
from provml_tools.rdf.mapping import Mapping
from provml_tools.rdf.terms import DEFAULT_BASE, literal
from provml_tools.validate.findings import SHAPES, Finding
from provml_tools.validate.nodes import Names, Nodes, Numbers

PART = 8 << 20
"""Bytes of text that are looked at together: some 60,000 statements."""

KNOWN = "urn:provml:known-type"
"""Says beside a part of the text which types a node has whose own statements are in another part."""

_PREFIXES = "".join(f"PREFIX {prefix}: <{iri}>\n" for prefix, iri in NAMESPACES.items())
_REMEDY = "Report it to whoever wrote the program that made the file; `provml convert` shows the statements."


class Query(NamedTuple):
    """One rule as SPARQL: what it selects as ``?focus`` (and ``?value``) breaks the rule."""

    component: str
    """The constraint component of SHACL."""
    path: str
    said: str
    text: str


class Broken(NamedTuple):
    """A node that breaks a rule."""

    focus: str
    shape: str
    query: Query
    value: str


def check(nodes: Nodes) -> Iterator[Finding]:
    """Yield what the RDF of a run breaks, a part of its text after the other.

    A rule is about a node, what it says, and which types the nodes have that it points at. So a part has all that is
    said of some nodes, and beside it the types of those that they point at: memory does not grow with the run.
    """
    names = Names([nodes])
    mapping = Mapping(nodes.graph, named=False)
    told: set[tuple[str, Query]] = set()
    for text, more in _parts(mapping):
        store = _store()
        store.bulk_load(text.encode(), _format())
        if not more:
            told.clear()
        for one in broken(store, union=False, more=more):
            if more and not one.value and (one.focus, one.query) in told:
                # Of a node with very many relations, what is wrong with it as such shows in each part.
                continue
            told.add((one.focus, one.query))
            record = names(one.focus.removeprefix(DEFAULT_BASE))
            value = f"; it is {_shown(one.value, names)}" if one.value else ""
            yield Finding(SHAPES, f"{one.query.component} {one.query.path}", record, one.query.said + value, _REMEDY)


def _parts(mapping: Mapping) -> Iterator[tuple[str, bool]]:
    """Yield the text of a run in parts, and whether a part goes on about a node that the one before was about."""
    among = {name for shape in shapes() for rule in shape.rules for name in rule.classes}
    among |= {name for shape in shapes() for name in shape.classes}
    texts: list[str] = []
    mentioned: list[Numbers] = []
    size, going_on = 0, False

    def part() -> tuple[str, bool]:
        ids = np.unique(np.concatenate(mentioned)) if mentioned else np.zeros(0, np.int64)
        return "".join(texts) + mapping.types_of(ids, KNOWN, among), going_on

    for piece in mapping.pieces():
        if texts and (size > PART or piece.more != going_on):
            yield part()
            texts, mentioned, size = [], [], 0
        texts.append(piece.text)
        mentioned += piece.mentioned
        size += len(piece.text)
        going_on = piece.more
    yield part()
    texts, mentioned, going_on = [mapping.describe_bundle(), mapping.describe_roles()], [], False
    yield part()


def _shown(value: str, names: Names) -> str:
    return names(value.removeprefix(DEFAULT_BASE)) if value.startswith(DEFAULT_BASE) else value


def _store() -> Any:
    try:
        from pyoxigraph import Store
    except ImportError:
        raise UsageError("The shapes need the package pyoxigraph: pip install 'provml-hpc[offline]'") from None
    return Store()


def _format() -> Any:
    from pyoxigraph import RdfFormat

    return RdfFormat.N_TRIPLES


def broken(store: Any, union: bool = True, more: bool = False) -> Iterator[Broken]:
    """Yield every node of a ``pyoxigraph.Store`` that breaks a rule, with the rule.

    If `union`, what is said in any of its graphs counts; else only what is in the default one. If `more`, what is there
    goes on about a node, the types of which are known.
    """
    for shape, probe, queries in _compiled():
        # The probe asks for all rules that look at single values; the others are asked for anyway.
        clean = probe is None or not _any(store, probe, union)
        for query, probed in queries:
            if probed and clean:
                continue
            texts = [query.text]
            if more and shape.target == CLASS and query.component != "minCount":
                # What the node has too little of may stand in another part.
                texts.append(query.text.replace(f"?focus a {shape.of} .", f"?focus <{KNOWN}> {shape.of} .", 1))
            for text in texts:
                for row in store.query(_PREFIXES + text, use_default_graph_as_union=union):
                    value = row["value"] if "?value" in text.partition("WHERE")[0] else None
                    yield Broken(row["focus"].value, shape.name, query, "" if value is None else str(value.value))


def _any(store: Any, probe: str, union: bool) -> bool:
    return bool(store.query(_PREFIXES + probe, use_default_graph_as_union=union))


@cache
def _compiled() -> tuple[tuple[Shape, str | None, tuple[tuple[Query, bool], ...]], ...]:
    found = []
    for shape in shapes():
        conditions: list[str] = []
        queries = [(query, condition is not None) for query, condition in _queries(shape, conditions)]
        probe = None
        if conditions:
            where = _where(shape, shape.rules[0] if shape.rules else None)
            probe = f"ASK WHERE {{ {where} FILTER({' || '.join(f'({one})' for one in conditions)}) }}"
        found.append((shape, probe, tuple(queries)))
    return tuple(found)


def _where(shape: Shape, rule: On | None) -> str:
    """Return the pattern of a target with the values of a rule's property."""
    if shape.target == CLASS:
        target = f"?focus a {shape.of} ."
    elif rule is not None and rule.path == shape.of and not rule.inverse:
        return f"?focus {rule.path} ?value ."
    else:
        target = f"?focus {shape.of} ?any ."
    if rule is None:
        return target
    return target + (f" ?value {rule.path} ?focus ." if rule.inverse else f" ?focus {rule.path} ?value .")


def _queries(shape: Shape, conditions: list[str]) -> Iterator[tuple[Query, str | None]]:
    """Yield the queries of a shape, each with its condition if the probe of the shape can ask for it too."""
    if shape.classes:
        condition = _none_of("?focus", shape.classes)
        said = f"what has {shape.of} is a {' or '.join(shape.classes)}"
        text = f"SELECT DISTINCT ?focus WHERE {{ {_where(shape, None)} FILTER({condition}) }}"
        probed = _probed(shape, shape.rules[0] if shape.rules else None, condition, conditions)
        yield Query("class", shape.of, said, text), probed
    for rule in shape.rules:
        yield from _rule(shape, rule, conditions)


def _probed(shape: Shape, rule: On | None, condition: str, conditions: list[str]) -> str | None:
    """Add a condition to those of the probe, if the probe's pattern has what it asks about."""
    if shape.target == CLASS or rule is not (shape.rules[0] if shape.rules else None):
        return None
    conditions.append(condition)
    return condition


def _rule(shape: Shape, rule: On, conditions: list[str]) -> Iterator[tuple[Query, str | None]]:
    said, where = message(rule), _where(shape, rule)
    path = f"^{rule.path}" if rule.inverse else rule.path
    has = f"?other {rule.path} ?focus" if rule.inverse else f"?focus {rule.path} ?other"
    if rule.at_least:
        text = f"SELECT DISTINCT ?focus WHERE {{ {_where(shape, None)} FILTER(NOT EXISTS {{ {has} }}) }}"
        yield Query("minCount", path, said, text), None
    if rule.at_most == 0:
        yield Query("maxCount", path, said, f"SELECT DISTINCT ?focus WHERE {{ {where} }}"), None
    elif rule.at_most == 1:
        text = f"SELECT DISTINCT ?focus WHERE {{ {where} {has} . FILTER(!SAMETERM(?value, ?other)) }}"
        yield Query("maxCount", path, said, text), None
    for component, condition in _conditions(rule):
        text = f"SELECT DISTINCT ?focus ?value WHERE {{ {where} FILTER({condition}) }}"
        yield Query(component, path, said, text), _probed(shape, rule, condition, conditions)
    if rule.no_later:
        text = (
            f"SELECT DISTINCT ?focus ?value WHERE {{ {where} ?focus {rule.no_later} ?other . FILTER(?value > ?other) }}"
        )
        yield Query("lessThanOrEquals", path, said, text), None


def _conditions(rule: On) -> Iterator[tuple[str, str]]:
    """Yield what is true of a value that breaks a rule, with the component."""
    if rule.datatype:
        yield "datatype", f"!isLiteral(?value) || datatype(?value) != {rule.datatype}"
    if rule.literal:
        yield "nodeKind", "!isLiteral(?value)"
    if rule.choices:
        # A value of a type that cannot be compared is none of them either.
        yield "in", f"COALESCE(?value NOT IN ({', '.join(map(literal, rule.choices))}), true)"
    if rule.least is not None:
        yield "minInclusive", f"COALESCE(?value < {rule.least}, true)"
    if rule.classes:
        yield "class", _none_of("?value", rule.classes)


def _none_of(what: str, classes: Iterable[str]) -> str:
    names = (*classes,)
    if len(names) == 1:
        return " && ".join(f"NOT EXISTS {{ {what} {by} {names[0]} }}" for by in ("a", f"<{KNOWN}>"))
    # One look at the few types that a node has, and not one for each that it could have.
    among = f"?kind . FILTER(?kind IN ({', '.join(names)}))"
    return " && ".join(f"NOT EXISTS {{ {what} {by} {among} }}" for by in ("a", f"<{KNOWN}>"))
