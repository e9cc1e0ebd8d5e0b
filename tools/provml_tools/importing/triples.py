"""A repaired document as RDF in the terms of PROV-O, as text of N-Quads: one named graph a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from provml_hpc import identity
from provml_hpc.vocabulary import expand
from provml_tools.importing.repair import Document, Name, Record
from provml_tools.rdf import terms, uuids

_CLASSES = {"entity": "prov:Entity", "activity": "prov:Activity", "agent": "prov:Agent"}
_TIMES = {
    "startTime": "prov:startedAtTime",
    "endTime": "prov:endedAtTime",
    "startedAtTime": "prov:startedAtTime",
    "endedAtTime": "prov:endedAtTime",
    "generatedAtTime": "prov:generatedAtTime",
    "time": "prov:atTime",
}
_QUALIFIED = {
    "used": ("prov:qualifiedUsage", "prov:Usage", "prov:entity"),
    "wasGeneratedBy": ("prov:qualifiedGeneration", "prov:Generation", "prov:activity"),
    "wasAssociatedWith": ("prov:qualifiedAssociation", "prov:Association", "prov:agent"),
    "wasStartedBy": ("prov:qualifiedStart", "prov:Start", "prov:entity"),
    "wasEndedBy": ("prov:qualifiedEnd", "prov:End", "prov:entity"),
}


def nquads(document: Document, named: bool = True) -> Iterator[str]:
    """Yield what a document says, as text of N-Quads (or of N-Triples, if not `named`)."""
    seed = identity.local(str(identity.NAMESPACE), "imported", str(document.path.name))
    end = f" <{terms.DEFAULT_BASE}{identity.graph(seed)}> .\n" if named else " .\n"
    said: dict[str, None] = {}
    for at, record in enumerate(document.records):
        said.update(dict.fromkeys(_element(document, record) if not record.ends else _relation(document, record, at)))
    yield "".join(f"{triple}{end}" for triple in said)


def _element(document: Document, record: Record) -> Iterator[str]:
    if record.name is None:
        return
    subject = f"<{record.name.iri}>"
    yield f"{subject} {terms.TYPE} <{expand(_CLASSES[record.kind])}>"
    yield from _attributes(document, subject, record)


def _attributes(document: Document, subject: str, record: Record) -> Iterator[str]:
    for name, values in record.attributes.items():
        local = name.rpartition(":")[2]
        is_prov = document.expand(name).startswith(expand("prov:"))
        for value in values:
            if is_prov and local in _TIMES and (time := document.nanoseconds(value)) is not None:
                text = terms.times(np.array([time], np.int64))[0]
                yield f'{subject} <{expand(_TIMES[local])}> "{text}{terms.DATETIME}'
            elif is_prov and local == "type":
                yield f"{subject} {terms.TYPE} <{_class(document, value)}>"
            elif is_prov and local == "role":
                role = terms.DEFAULT_BASE + identity.named("imported", "Role", str(value))
                yield f"{subject} <{expand('prov:hadRole')}> <{role}>"
                yield f"<{role}> {terms.TYPE} <{expand('prov:Role')}>"
                yield f"<{role}> <{expand('rdfs:label')}> {terms.literal(str(value))}"
            else:
                # prov:label is no property of PROV-O.
                iri = expand("rdfs:label") if is_prov and local == "label" else document.expand(name)
                yield f"{subject} <{iri}> {_literal(value)}"


def _class(document: Document, value: Any) -> str:
    if isinstance(value, Name):
        return value.iri
    prefix, colon, _ = str(value).partition(":")
    return document.expand(str(value) if colon and prefix in document.prefixes else f"default:{value}")


def _literal(value: Any) -> str:
    if isinstance(value, Name):
        return f"<{value.iri}>"
    if isinstance(value, bool):
        return f'"{str(value).lower()}{terms.BOOLEAN}'
    if isinstance(value, int):
        return f'"{value}{terms.INTEGER}'
    if isinstance(value, float):
        return f'"{terms.real(value)}{terms.DOUBLE}'
    return terms.literal(str(value))


def _relation(document: Document, record: Record, at: int) -> Iterator[str]:
    one, other = (f"<{end.iri}>" for end in record.ends)
    yield f"{one} <{expand('prov:' + record.kind)}> {other}"
    if record.attributes and record.kind in _QUALIFIED:
        leads, kind, to = _QUALIFIED[record.kind]
        place = uuids.place("imported", document.path.name.replace('"', "").replace("'", ""), at)
        node = f"<{terms.DEFAULT_BASE}{uuids.below(uuids.seed(str(identity.NAMESPACE)), place)}>"
        yield f"{one} <{expand(leads)}> {node}"
        yield f"{node} {terms.TYPE} <{expand(kind)}>"
        yield f"{node} <{expand(to)}> {other}"
        yield from _attributes(document, node, record)
