"""Every property that RDF can have, with what it is of: gathered from the vocabulary and from what conversion adds."""

from __future__ import annotations

from dataclasses import dataclass, field

from provml_hpc import vocabulary
from provml_hpc.vocabulary import CLASSES, RELATIONS, Field
from provml_tools.rdf import ADDED, companion

DATATYPES = {
    "text": "xsd:string",
    "integer": "xsd:integer",
    "real": "xsd:double",
    "boolean": "xsd:boolean",
    "time": "xsd:dateTime",
}
"""The datatype of each type of field; a value has the one that it was given in."""

BUNDLE = "prov:Bundle"
CONVERTER = "prov:SoftwareAgent"
SAMPLE = "provml:Sample"

# What a conversion says beside the tables: of the named graph, of itself, and of samples.
_BESIDE = {
    BUNDLE: (
        "provml:runId",
        "provml:phase",
        "provml:status",
        "provml:hdf5File",
        "provml:writtenBy",
        "provml:committedNs",
    ),
    CONVERTER: ("provml:version",),
    SAMPLE: ("provml:rank", "provml:attempt", "provml:step", "provml:timeNs"),
}
_TYPES_OF_ADDED = {"status": "xsd:string", "writtenBy": "xsd:string", "committedNs": "xsd:integer"}


@dataclass
class Property:
    """A property whose values are literals."""

    iri: str
    comment: str
    datatype: str = ""
    """Empty where it can be any."""
    domain: dict[str, None] = field(default_factory=dict)
    """The classes that have it, in order."""
    origin: str = "ours"


def literals() -> dict[str, Property]:
    """Return every property of literals by its prefixed name."""
    found: dict[str, Property] = {}
    for cls in CLASSES:
        above = vocabulary.fields(cls.parent) if cls.parent else ()
        for one in cls.fields:
            if one not in above:
                _add(found, one, f"provml:{cls.name}")
    for relation in RELATIONS:
        for one in relation.fields:
            if relation.qualified and one.type != "reference" and one.iri != "prov:hadRole":
                _add(found, one, relation.qualified[1])
    for name, comment in ADDED.items():
        if name in _TYPES_OF_ADDED:
            found[f"provml:{name}"] = Property(f"provml:{name}", comment, _TYPES_OF_ADDED[name])
    for cls_name, names in _BESIDE.items():
        for name in names:
            found[name].domain[cls_name] = None
    found["rdfs:label"].domain |= dict.fromkeys((BUNDLE, CONVERTER, SAMPLE, "prov:Role"))
    found["prov:generatedAtTime"].domain |= dict.fromkeys((BUNDLE, SAMPLE))
    found["prov:value"].domain[SAMPLE] = None
    return found


def _add(found: dict[str, Property], one: Field, cls: str) -> None:
    _one(found, one.iri, one.comment, DATATYPES.get(one.type, ""), cls)
    if one.type == "time":
        comment = f"{one.comment}, in nanoseconds since the epoch (UTC)"
        _one(found, companion(one.name), comment, "xsd:integer", cls)
    elif one.type == "value":
        comment = f"none or json, where {one.iri} was given as that"
        _one(found, companion(one.name + "_type"), comment, "xsd:string", cls)


def _one(found: dict[str, Property], iri: str, comment: str, datatype: str, cls: str) -> None:
    known = found.setdefault(iri, Property(iri, comment, datatype))
    if known.datatype != datatype:
        known.datatype = ""
    known.domain[cls] = None
