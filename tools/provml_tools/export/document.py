"""A run as a document of the `prov` package, and from there in the formats that it writes.

Every record is an entity, an activity or an agent under the IRI that it has in RDF too; a relation of PROV is one here,
any other an attribute that names its object. The package holds all in memory.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, BinaryIO

from provml_hpc import vocabulary
from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.errors import FormatError, UsageError
from provml_hpc.vocabulary import Field
from provml_tools.rdf import class_types, companion, terms

if TYPE_CHECKING:
    from prov.model import ProvDocument

WRITERS = {"prov-json": "json", "prov-n": "provn", "prov-jsonld": "jsonld", "prov-xml": "xml"}
"""The name that `prov` has for each of our formats."""

_ELEMENTS = {"prov:Entity": "entity", "prov:Activity": "activity", "prov:Agent": "agent"}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# These have a place of their own in PROV-DM; whatever is not here becomes an attribute.
_RELATIONS = {
    "used": "usage",
    "wasGeneratedBy": "generation",
    "wasDerivedFrom": "derivation",
    "wasRevisionOf": "revision",
    "specializationOf": "specialization",
    "wasAssociatedWith": "association",
    "actedOnBehalfOf": "delegation",
    "wasInformedBy": "communication",
    "wasAttributedTo": "attribution",
    "hadMember": "membership",
}
_TIMED = frozenset({"usage", "generation"})
_BARE = frozenset({"specialization", "membership"})
_ATTRIBUTES = {"rdfs:label": "prov:label", "prov:atLocation": "prov:location", "prov:hadRole": "prov:role"}

Attributes = list[tuple[Any, Any]]


def write(graph: Graph, stream: BinaryIO, form: str) -> None:
    """Write a run to a binary stream in one of `WRITERS`.

    Raises
    ------
    UsageError
        The package prov is not there, or not the part of it that this format needs.
    FormatError
        The run holds a text that the format cannot hold.
    """
    document = document_of(graph)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document.serialize(stream, format=WRITERS[form], **({"indent": 1} if "json" in form else {}))
    except ImportError as error:
        raise UsageError(f"{form} cannot be written: {error}. Install: pip install 'provml-hpc[export]'") from None
    except ValueError as error:
        raise FormatError(f"{form} cannot hold this run ({error}). Take prov-json, or a format of RDF.") from None


def document_of(graph: Graph) -> ProvDocument:
    """Return a run as a document.

    Raises
    ------
    UsageError
        The package prov is not there.
    """
    try:
        from prov.model import ProvDocument
    except ImportError:
        raise UsageError("This needs the package prov. Install it with: pip install 'provml-hpc[export]'") from None
    document = ProvDocument()
    for prefix in ("provml", "mls", "dcterms", "rdfs", "skos"):
        document.add_namespace(prefix, vocabulary.NAMESPACES[prefix])
    document.add_namespace("uuid", terms.DEFAULT_BASE)
    _Maker(document, graph).make()
    return document


class _Maker:
    def __init__(self, document: ProvDocument, graph: Graph) -> None:
        self._document = document
        self._graph = graph
        self._names: dict[int, Any] = {}

    def _name(self, text: str) -> Any:
        return self._document.mandatory_valid_qname(text)

    def make(self) -> None:
        for table in self._graph.nodes.values():
            for row in table.rows():
                self._names[row["id"]] = self._name(f"uuid:{terms.check_uuid(row['uuid'])}")
        links = self._attributes_of_relations()
        for name, table in self._graph.nodes.items():
            kind = next((_ELEMENTS[one] for one in class_types(name) if one in _ELEMENTS), "entity")
            types = [("prov:type", self._name(one)) for one in class_types(name) if one not in _ELEMENTS]
            fields = vocabulary.fields(name)
            for row in table.rows():
                times = {field.iri: row[field.name] for field in fields if field.type == "time"}
                said = [*types, *self._said(fields, row, kind), *links[row["id"]]]
                if kind == "activity":
                    begin, end = times.get("prov:startedAtTime", ABSENT), times.get("prov:endedAtTime", ABSENT)
                    self._document.activity(self._names[row["id"]], _moment(begin), _moment(end), said)
                else:
                    getattr(self._document, kind)(self._names[row["id"]], said)
        for name, relation in _RELATIONS.items():
            if name in self._graph.relations:
                self._relate(relation, vocabulary.RELATION[name])

    def _attributes_of_relations(self) -> dict[int, Attributes]:
        found: dict[int, Attributes] = defaultdict(list)
        for name, table in self._graph.relations.items():
            if name not in _RELATIONS:
                iri = vocabulary.RELATION[name].iri
                for row in table.rows():
                    found[row["subject"]].append((_ATTRIBUTES.get(iri, iri), self._names[row["object"]]))
        return found

    def _relate(self, kind: str, relation: vocabulary.Relation) -> None:
        make = getattr(self._document, kind)
        seen: set[tuple[int, int]] = set()
        for row in self._graph.relations[relation.name].rows():
            ends = (self._names[row["subject"]], self._names[row["object"]])
            if not relation.fields:
                if (row["subject"], row["object"]) not in seen:
                    seen.add((row["subject"], row["object"]))
                    make(*ends)
                continue
            said = self._said(relation.fields, row, kind)
            if kind == "association":
                plan = row.get("plan", ABSENT)
                make(*ends, None if plan == ABSENT else self._names[plan], other_attributes=said)
            else:
                make(*ends, _moment(row.get("time_ns", ABSENT)), other_attributes=said)

    def _said(self, fields: tuple[Field, ...], row: dict[str, Any], kind: str) -> Attributes:
        from prov.model import Literal

        said: Attributes = []
        for field in fields:
            value = row.get(field.name)
            iri = _ATTRIBUTES.get(field.iri, field.iri)
            if field.type == "text" and value:
                said.append((iri, _text(value)))
            elif field.type == "value" and row.get(field.name + "_type", "absent") != "absent":
                said.append((iri, _value(str(value), row[field.name + "_type"])))
                if row[field.name + "_type"] in terms.UNTYPED:
                    said.append((companion(field.name + "_type"), row[field.name + "_type"]))
            elif field.type == "integer" and value != ABSENT and value is not None:
                said.append((iri, Literal(str(value), self._name("xsd:long"))))
            elif field.type == "time" and value != ABSENT and value is not None:
                said.append((companion(field.name), Literal(str(value), self._name("xsd:long"))))
                # What PROV-DM has no place for is an attribute like any other.
                if kind not in ("activity", *_TIMED):
                    iri = "provml:" + iri.partition(":")[2] if iri.startswith("prov:") else iri
                    said.append((iri, _moment(value)))
            elif field.type == "real" and value is not None and value == value:
                said.append((iri, float(value)))
            elif field.type == "boolean":
                said.append((iri, bool(value)))
        return said


def _moment(nanoseconds: int) -> datetime | None:
    if nanoseconds == ABSENT:
        return None
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _text(text: str) -> str:
    # As in RDF: no format holds NUL or half a character, and XML none of the other control characters.
    return "".join(c if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff") else "\ufffd" for c in text)


def _value(text: str, kind: str) -> Any:
    from prov.constants import XSD
    from prov.model import Literal

    try:
        if kind == "integer":
            return Literal(str(int(text)), XSD["integer"])
        if kind == "real":
            return float(text)
        if kind == "boolean":
            return text.lower() in ("true", "1")
        if kind == "time":
            return _moment(int(text))
    except (ValueError, OverflowError):
        pass
    return _text(text)
