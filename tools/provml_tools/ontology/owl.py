"""``provml.ttl``: PROV-ML in OWL 2, from the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provml_hpc import vocabulary
from provml_hpc.vocabulary import CLASSES, NAMESPACES, RELATIONS, Class
from provml_tools.ontology.properties import Property, literals
from provml_tools.ontology.turtle import block, members, node, prefixes, section, text
from provml_tools.rdf import ADDED
from provml_tools.rdf.terms import ABOVE

ONTOLOGY = f"<{NAMESPACES['provml'].rstrip('#')}>"
VERSION = "1.0"
"""Raised when a term is added (minor) or changes its meaning (major)."""

ATTESTED = (
    "Attested: named by the authors of PROV-ML (Souza et al., WORKS 2019; arXiv:2010.00330), or a term that they use."
)
OURS = "Ours: not in PROV-ML; added by provml-hpc to fill a gap."
_PAPER = "<https://arxiv.org/abs/2010.00330>"

ANNOTATIONS = frozenset({"rdfs:label", "dcterms:modified"})
"""Properties that are annotations in OWL or in ML-Schema: OWL 2 DL lets none be a property of data as well."""

_HEAD = """\
# Written by `python -m provml_tools.ontology docs/ontology` from provml_hpc/vocabulary.py. Make changes there.
# It imports nothing, so nothing is fetched: load it together with PROV-O, ML-Schema and mls-prov-alignment.ttl.
"""


def render() -> str:
    """Return the ontology as Turtle."""
    parts = [
        _HEAD + prefixes("provml", "prov", "mls", "dcterms", "owl", "rdf", "rdfs", "skos", "xsd"),
        _ontology(),
        section("Classes", _classes()),
        section("Properties that relate two things", _relations()),
        section("Properties whose values are literals", _literals()),
        section("Terms of others, declared so that this file is OWL 2 DL by itself", _foreign()),
    ]
    return "\n".join(parts)


def _ontology() -> str:
    about = (
        "PROV-ML describes how machine-learning models came to be: data curation, preparation of the learning data, "
        "and learning. It joins W3C PROV and W3C ML-Schema. Its authors published it as a class diagram; this is that "
        "diagram as a file, with what runs on clusters need beside it. Each term says whether it is attested or ours."
    )
    return block(
        ONTOLOGY,
        [
            ("a", "owl:Ontology"),
            ("dcterms:title", text("PROV-ML for high-performance computing")),
            ("dcterms:description", text(about)),
            ("dcterms:source", _PAPER),
            ("dcterms:license", "<https://www.apache.org/licenses/LICENSE-2.0>"),
            ("owl:versionInfo", f'"{VERSION}"'),
            ("rdfs:seeAlso", "<http://www.w3.org/ns/prov#>"),
            ("rdfs:seeAlso", "<http://www.w3.org/ns/mls#>"),
        ],
    )


def _classes() -> Iterator[str]:
    for cls in CLASSES:
        yield _class(cls)
    yield block(
        "provml:Sample",
        [
            ("a", "owl:Class"),
            ("rdfs:label", text("Sample")),
            ("rdfs:comment", text(ADDED["Sample"])),
            ("rdfs:comment", text(OURS)),
            ("rdfs:subClassOf", "prov:Entity"),
            ("rdfs:isDefinedBy", ONTOLOGY),
        ],
    )


def _class(cls: Class) -> str:
    above = [f"provml:{cls.parent}"] if cls.parent else []
    above += [name for name in (*cls.prov, *cls.mls) if not _inherited(cls, name)]
    pairs = [("a", "owl:Class"), ("rdfs:label", text(_words(cls.name))), ("rdfs:comment", text(cls.comment))]
    pairs += _origin(cls.origin)
    if cls.abstract:
        pairs.append(("rdfs:comment", text("Abstract: a thing is always of a class below it.")))
    pairs += [("rdfs:subClassOf", name) for name in above]
    pairs += [("skos:closeMatch", name) for name in cls.close]
    plan = vocabulary.PLAN_OF.get(cls.name)
    if plan:
        pairs.append(("rdfs:seeAlso", f"provml:{plan}"))
    return block(f"provml:{cls.name}", [*pairs, ("rdfs:isDefinedBy", ONTOLOGY)])


def _inherited(cls: Class, name: str) -> bool:
    """Tell whether a class is below another already by one above it, or by what PROV-O says."""
    if cls.parent:
        parent = vocabulary.CLASS[cls.parent]
        if name in parent.prov or name in parent.mls or _inherited(parent, name):
            return True
    return any(ABOVE.get(other) == name for other in cls.prov)


def _origin(origin: str) -> list[tuple[str, str]]:
    if origin == "ours":
        return [("rdfs:comment", text(OURS))]
    return [("rdfs:comment", text(ATTESTED)), ("dcterms:source", _PAPER)]


def _words(name: str) -> str:
    """Return the name of a term as words: ``LearningStage`` is "learning stage".

    Examples
    --------
    >>> _words("hdf5File"), _words("LearningStage")
    ('hdf5 file', 'learning stage')
    """
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _relations() -> Iterator[str]:
    for one in RELATIONS:
        if not one.iri.startswith("provml:"):
            continue
        yield block(
            one.iri,
            [
                ("a", "owl:ObjectProperty"),
                ("rdfs:label", text(_words(one.name))),
                ("rdfs:comment", text(one.comment)),
                *_origin(one.origin),
                ("rdfs:domain", union(f"provml:{name}" for name in one.domain)),
                ("rdfs:range", union(f"provml:{name}" for name in one.range)),
                ("rdfs:isDefinedBy", ONTOLOGY),
            ],
        )


def _literals() -> Iterator[str]:
    for one in literals().values():
        if one.iri.startswith("provml:"):
            yield _literal(one)


def _literal(one: Property) -> str:
    pairs = [
        ("a", "owl:DatatypeProperty"),
        ("rdfs:label", text(_words(one.iri.partition(":")[2]))),
        ("rdfs:comment", text(one.comment[:1].upper() + one.comment[1:].removesuffix(".") + ".")),
        *_origin(one.origin),
        ("rdfs:domain", union(one.domain)),
    ]
    if one.datatype:
        pairs.append(("rdfs:range", one.datatype))
    return block(one.iri, [*pairs, ("rdfs:isDefinedBy", ONTOLOGY)])


def union(names: Iterable[str]) -> str:
    """Return a class or, of several, their union."""
    listed = list(names)
    if len(listed) == 1:
        return listed[0]
    return node([("a", "owl:Class"), ("owl:unionOf", members(listed))])


def _foreign() -> Iterator[str]:
    for name, kind in foreign().items():
        yield f"{name} a {kind} .\n"


def foreign() -> dict[str, str]:
    """Return the terms of others that are used, and what each is in OWL."""
    found: dict[str, str] = {}
    for cls in CLASSES:
        found |= dict.fromkeys((*cls.prov, *cls.mls), "owl:Class")
    for relation in RELATIONS:
        found[relation.iri] = "owl:ObjectProperty"
        if relation.implies:
            found[relation.implies] = "owl:Class"
        if relation.qualified:
            found |= dict.fromkeys((relation.qualified[0], relation.qualified[2]), "owl:ObjectProperty")
            found[relation.qualified[1]] = "owl:Class"
            for field in relation.fields:
                if field.type == "reference" or field.iri == "prov:hadRole":
                    found[field.iri] = "owl:ObjectProperty"
    for one in literals().values():
        found[one.iri] = "owl:AnnotationProperty" if one.iri in ANNOTATIONS else "owl:DatatypeProperty"
    found |= dict.fromkeys(("prov:Bundle", "prov:Role"), "owl:Class")
    found |= dict.fromkeys(("skos:closeMatch", *_ANNOTATED), "owl:AnnotationProperty")
    return {name: kind for name, kind in sorted(found.items()) if not name.startswith(("provml:", "rdfs:"))}


_ANNOTATED = ("dcterms:title", "dcterms:description", "dcterms:source", "dcterms:license")
