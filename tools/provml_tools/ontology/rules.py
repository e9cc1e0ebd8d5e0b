"""What the RDF of a run has to keep to, as rules that become SHACL shapes and SPARQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from provml_hpc import vocabulary
from provml_hpc.vocabulary import CLASSES, RELATIONS, Class, Identity, Relation
from provml_tools.ontology.properties import BUNDLE, CONVERTER, SAMPLE, Property, literals

CLASS, SUBJECTS = "class", "subjects"
"""The two kinds of targets: all of a class, and all that have a property."""


@dataclass(frozen=True)
class On:
    """A rule on the values of one property; what is empty or None is no rule."""

    path: str
    inverse: bool = False
    """Whether the values are the subjects that point at the node by the property."""
    at_least: int = 0
    """0 or 1."""
    at_most: int | None = None
    """0 or 1."""
    datatype: str = ""
    literal: bool = False
    choices: tuple[str, ...] = ()
    least: int | None = None
    classes: tuple[str, ...] = ()
    """Of which a value has to be one at least."""
    no_later: str = ""
    """A property whose values are as great or greater."""


@dataclass(frozen=True)
class Shape:
    """Rules for the nodes of a target."""

    name: str
    target: str
    of: str
    """The class or property of the target."""
    rules: tuple[On, ...] = ()
    classes: tuple[str, ...] = ()
    """Of which the node itself has to be one at least."""


_CHOICES = {
    "provml:outcome": ("completed", "failed", "open", "left"),
    "provml:phase": ("curation", "preparation", "learning"),
    "provml:digestState": ("whole", "sampled", "given", "changed", "missing", "failed"),
    "provml:status": ("running", "finished", "failed", "incomplete", "recovered"),
    "provml:valueType": ("none", "json"),
    "provml:itemType": ("none", "json"),
}
_LEAST = {
    "provml:size": 0, "provml:count": 0, "provml:rowCount": 0, "provml:firstRow": 0, "provml:rank": 0,
    "provml:attempt": 1, "provml:processId": 0,
}  # fmt: skip
_LABEL = "rdfs:label"
_ONE = {
    # What a thing of each class has exactly one of.
    "Content": ("provml:digestAlgorithm", "provml:digest"),
    "DataReference": ("dcterms:identifier",),
    "Persona": ("dcterms:identifier",),
    "LearningHyperparameterValue": ("mls:specifiedBy", "mls:hasValue"),
    "ModelHyperparameterValue": ("mls:specifiedBy", "mls:hasValue"),
    "ModelEvaluation": ("mls:specifiedBy", "mls:hasValue", "prov:wasGeneratedBy"),
    "AttributeValue": ("provml:valueOf", "prov:value"),
    "MetricSeries": ("provml:valueOf", "provml:count", "prov:wasGeneratedBy"),
    "Rank": ("provml:rank", "prov:actedOnBehalfOf"),
    "RankExecution": ("provml:rank", "dcterms:isPartOf", "provml:startNs"),
    "LearningStageExecution": ("dcterms:isPartOf", "provml:startNs"),
    "LearningStageSectionExecution": (
        "dcterms:isPartOf", "provml:startNs", "provml:sectionKind", "provml:sectionIndex",
    ),
    "DataTransformationExecution": ("dcterms:isPartOf", "provml:startNs"),
    "FeatureExtractionExecution": ("dcterms:isPartOf", "provml:startNs"),
    "Attempt": ("dcterms:isPartOf", "provml:startNs"),
}  # fmt: skip
_ONCE = {"Dataset": ("prov:wasGeneratedBy",), "Model": ("prov:wasGeneratedBy",)}
"""What a thing of each class has one of at most: a version is generated once."""
_NEVER = {
    # Bytes and places are found, not made; and bytes have no name.
    "Content": ("prov:wasGeneratedBy", "prov:wasDerivedFrom", _LABEL),
    "DataReference": ("prov:wasGeneratedBy", "prov:wasDerivedFrom"),
}
_ALSO_FROM = {"wasGeneratedBy": (SAMPLE,), "isPartOf": (SAMPLE,), "wasAttributedTo": (BUNDLE,)}
_ALSO_TO = {"isPartOf": ("provml:MetricSeries",), "wasAttributedTo": (CONVERTER,)}


def shapes() -> Iterator[Shape]:
    """Yield every shape, in an order that stays."""
    for one in literals().values():
        yield _literal(one)
    for relation in RELATIONS:
        yield _relation(relation)
    for relation in RELATIONS:
        if relation.qualified and relation.fields:
            yield _qualified(relation, *relation.qualified)
    for cls in CLASSES:
        rules = tuple(_of_class(cls))
        if rules:
            yield Shape(f"{cls.name}Shape", CLASS, f"provml:{cls.name}", rules)
    yield Shape("RoleShape", CLASS, "prov:Role", (On(_LABEL, at_least=1, at_most=1),))
    yield Shape(
        "BundleShape",
        CLASS,
        BUNDLE,
        (On("provml:runId", at_least=1, at_most=1), On("prov:wasAttributedTo", at_least=1, classes=(CONVERTER,))),
    )
    yield Shape(
        "SampleShape",
        CLASS,
        SAMPLE,
        (
            On("dcterms:isPartOf", at_least=1, at_most=1, classes=("provml:MetricSeries",)),
            On("prov:value", at_least=1, at_most=1, datatype="xsd:double"),
        ),
    )


def _literal(one: Property) -> Shape:
    rule = On(
        one.iri,
        # Two runs may know a person by two names; nothing else of a thing can differ.
        at_most=None if one.iri == _LABEL else 1,
        datatype=one.datatype,
        literal=not one.datatype,
        choices=_CHOICES.get(one.iri, ()),
        least=_LEAST.get(one.iri),
    )
    return Shape(
        f"{_local(one.iri)}Property", SUBJECTS, one.iri, (rule,), () if one.iri == _LABEL else tuple(one.domain)
    )


def _relation(relation: Relation) -> Shape:
    ends = [(*(f"provml:{name}" for name in names),) for names in (relation.domain, relation.range)]
    rule = On(relation.iri, classes=(*ends[1], *_ALSO_TO.get(relation.name, ())))
    of = (*ends[0], *_ALSO_FROM.get(relation.name, ()))
    return Shape(f"{relation.name}Relation", SUBJECTS, relation.iri, (rule,), of)


def _qualified(relation: Relation, leads: str, kind: str, to: str) -> Shape:
    rules = [
        On(to, at_least=1, at_most=1, classes=tuple(f"provml:{name}" for name in relation.range)),
        On(leads, inverse=True, at_least=1, at_most=1, classes=tuple(f"provml:{name}" for name in relation.domain)),
    ]
    for field in relation.fields:
        if field.iri == "prov:hadRole":
            rules.append(On(field.iri, at_most=1, classes=("prov:Role",)))
        elif field.type == "reference":
            rules.append(On(field.iri, at_most=1, classes=("prov:Plan",)))
    return Shape(f"{kind.partition(':')[2]}Shape", CLASS, kind, tuple(rules))


def _of_class(cls: Class) -> Iterator[On]:
    fields = {field.name for field in vocabulary.fields(cls.name)}
    own = not cls.parent or "label" not in {field.name for field in vocabulary.fields(cls.parent)}
    if cls.identity is Identity.NAMED and "label" in fields and own:
        # A named thing is known by its name.
        yield On(_LABEL, at_least=1)
    if "start_ns" in fields and cls.parent is None:
        yield On("provml:startNs", no_later="provml:endNs")
    for relation in RELATIONS:
        for domain, range_ in relation.pairs:
            if cls.name in domain:
                ends = tuple(f"provml:{name}" for name in range_)
                yield On(relation.iri, classes=(*ends, *_ALSO_TO.get(relation.name, ())))
    for path in _ONE.get(cls.name, ()):
        yield On(path, at_least=1, at_most=1)
    for path in _ONCE.get(cls.name, ()):
        yield On(path, at_most=1)
    for path in _NEVER.get(cls.name, ()):
        yield On(path, at_most=0)


def _local(iri: str) -> str:
    """Return a name for the shape of a property: that of others with their prefix, since two may have one name."""
    prefix, _, local = iri.partition(":")
    return local if prefix == "provml" else prefix + local[:1].upper() + local[1:]
