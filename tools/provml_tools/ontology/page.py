"""``index.md``: the ontology as a page, with class diagrams that GitHub and others draw (Mermaid)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provml_hpc import vocabulary
from provml_hpc.vocabulary import CLASSES, RELATIONS
from provml_tools.ontology.owl import VERSION
from provml_tools.ontology.properties import literals
from provml_tools.rdf import ADDED

_ACTIVITIES = tuple(cls.name for cls in CLASSES if cls.prov == ("prov:Activity",) and cls.parent is None)
_ANY = "AnyActivity"
_OF_A_KIND = ("isPartOf", "wasRevisionOf", "wasInformedBy")
_PLANS = tuple(cls.name for cls in CLASSES if cls.prov == ("prov:Plan",))

_LOOK = ("---", "config:", "  class:", "    hideEmptyMembersBox: true", "---")
"""The boxes have names only: their fields are in the vocabulary."""

_VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Plans and what ran": (
        "A plan is prospective, an execution retrospective; the dotted arrows go from an execution to the plan that it "
        "followed (`prov:qualifiedAssociation`, `prov:hadPlan`). Parts point at their whole by `dcterms:isPartOf`, a "
        "run that goes on from another at that by `prov:wasInformedBy`.",
        (*_PLANS, *vocabulary.PLAN_OF, "LearningStageExecution"),
    ),
    "Data": (
        "What a run saw of data is a version; bytes and places are known across runs. A later version of the same is "
        "said by `prov:wasRevisionOf`. `AnyActivity` stands for all executions.",
        ("Dataset", "LearningDataset", "FeatureSetData", "Model", "Content", "DataReference", "DataStore",
         "DatasetCharacteristic", _ANY),
    ),
    "Learning": (
        "What a stage of learning took in, followed and gave.",
        ("LearningStageExecution", "LearningTask", "Algorithm", "Implementation", "Software", "LearningHyperparameter",
         "LearningHyperparameterValue", "ModelHyperparameter", "ModelHyperparameterValue", "EvaluationMeasure",
         "EvaluationSpecification", "EvaluationProcedure", "ModelEvaluation", "Model", "Dataset"),
    ),
    "Who, and where": (
        "People, the jobs that act for them, the ranks of the jobs, and the machines.",
        ("Persona", "Organization", "Job", "Rank", "ComputeNode", "Device", "Study", "Workflow", _ANY),
    ),
    "Values of runs": (
        "Samples are summed up in series, whose rows stay in HDF5; other captured facts are attributes.",
        ("MetricSeries", "TelemetrySeries", "EvaluationMeasure", "Attribute", "AttributeValue", _ANY),
    ),
}  # fmt: skip

_PAGE = """\
<!-- Written by `python -m provml_tools.ontology docs/ontology`: make changes in tools/provml_tools/ontology/page.py -->

# The ontology

| file | what it is |
| --- | --- |
| [provml.ttl](provml.ttl) | PROV-ML in OWL 2, version {version}: {classes} classes, {properties} properties |
| [mls-prov-alignment.ttl](mls-prov-alignment.ttl) | how ML-Schema and PROV-O fit together; proposed by us |
| [shapes.ttl](shapes.ttl) | the same rules as SHACL shapes; `provml validate` runs them |

The first and the third are written from `provml_hpc/vocabulary.py`, as are the tables of a file and the mapping
to RDF, so they cannot disagree; a test holds them together. Every field and relation is listed in [the
vocabulary](../vocabulary.md).

The address of the namespace does not resolve yet: it has still to be registered. The files import nothing, so
loading them fetches nothing. Load them with [PROV-O](http://www.w3.org/ns/prov-o) and the strict ML-Schema file
([ML-Schema/core](https://github.com/ML-Schema/core), `MLSchema.ttl`) to reason over all of it.

## What is attested and what is ours

Each term carries an `rdfs:comment` that says which. Of the {classes} classes, {attested} are attested: named by
the authors of PROV-ML, or by code that follows their diagram. The others fill gaps: {ours}.

## How it sits on PROV-O and ML-Schema

- A class is a subclass of one of PROV-O, and of one of ML-Schema where that holds under ML-Schema's disjoint
  classes.
- `mls:Study`, `mls:Experiment` and `mls:Run` are processes, disjoint from information. A plan is therefore
  never one of them: `provml:Study` and `provml:LearningExperiment` are `skos:closeMatch` to theirs, no more.
- Domains and ranges are given for our own properties only. What `prov:` and `mls:` properties relate in PROV-ML
  is in the shapes, since an ontology should not change what the terms of others mean.
- `rdfs:label` and `dcterms:modified` are annotations in OWL and in ML-Schema, so they are here.

Together with PROV-O, the strict ML-Schema file, the alignment and the files of real runs it is consistent under
HermiT, an OWL 2 DL reasoner. The same reasoner finds the known mistakes: a `provml:Model` as `mls:hasInput`, a
dataset as `mls:hasOutput`, one node that is both software and implementation, a plan that is an
`mls:Experiment`, an activity that is data. (HermiT reads times to the millisecond only; they are cut for it.)

## Class diagrams

A class with «ours» is not in PROV-ML.

{diagrams}
"""


def render() -> str:
    """Return the page as Markdown."""
    own = [one for one in RELATIONS if one.iri.startswith("provml:")]
    data = [name for name in literals() if name.startswith("provml:")]
    ours = [cls.name for cls in CLASSES if cls.origin == "ours"] + [name for name in ADDED if name[0].isupper()]
    count = len(CLASSES) + sum(name[0].isupper() for name in ADDED)
    return _PAGE.format(
        version=VERSION,
        classes=count,
        properties=len(own) + len(data),
        attested=count - len(ours),
        ours=", ".join(f"`{name}`" for name in ours),
        diagrams="\n".join(_diagram(title, words, names) for title, (words, names) in _VIEWS.items()),
    )


def _diagram(title: str, words: str, names: tuple[str, ...]) -> str:
    lines = [*_LOOK, "classDiagram", "  direction LR", *_boxes(names), *_below(names), *_edges(names)]
    return f"### {title}\n\n{words}\n\n```mermaid\n" + "\n".join(lines) + "\n```\n"


def _boxes(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name != _ANY:
            mark = " {\n    <<ours>>\n  }" if vocabulary.CLASS[name].origin == "ours" else ""
            yield f"  class {name}{mark}"


def _below(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        parent = vocabulary.CLASS[name].parent if name != _ANY else None
        if parent in names:
            yield f"  {parent} <|-- {name}"
        if name in vocabulary.PLAN_OF and vocabulary.PLAN_OF[name] in names:
            yield f"  {name} ..> {vocabulary.PLAN_OF[name]} : hadPlan"


def _edges(names: tuple[str, ...]) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for one in RELATIONS:
        for domain, range_ in vocabulary.pairs(one):
            if one.name in _OF_A_KIND or (_ANY not in names and domain == range_):
                continue  # told in words: a drawing would only be black with them
            for subject in _shown(domain, names):
                for target in _shown(range_, names):
                    found.setdefault((subject, target), []).append(one.name)
    for (subject, target), relations in found.items():
        yield f"  {subject} --> {target} : {', '.join(relations)}"


def _shown(ends: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    """Return the classes at an end of a relation that a diagram has: all activities are one."""
    shown = [end for end in ends if end in names]
    if _ANY in names and set(_ACTIVITIES) <= set(ends):
        shown = [end for end in shown if end not in _ACTIVITIES] + [_ANY]
    return shown
