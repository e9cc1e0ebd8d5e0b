"""PROV-ML, said once: every class and every relation with its IRIs, fields and origin.

The HDF5 tables, the RDF mapping and the reference page are derived from this module; nothing else in the project spells an
IRI of a class, a field or a relation. It needs the standard library only.

A *class* is prospective (what was meant to run), retrospective (what did run, and the data of it), an agent or a place. Its
*fields* are literals. Every link between two records is a *relation*. The origin of a term is ``"attested"`` when the
PROV-ML authors named it (Souza et al., WORKS 2019; arXiv 2010.00330) and ``"ours"`` when it fills a gap.

Wire codes are stable: a new class or relation takes the next free number, and a number is never used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

NAMESPACES = {
    "provml": "https://w3id.org/provml-hpc/ns#",
    "prov": "http://www.w3.org/ns/prov#",
    "mls": "http://www.w3.org/ns/mls#",
    "dcterms": "http://purl.org/dc/terms/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


def expand(curie: str) -> str:
    """Return the full IRI of a prefixed name such as ``"prov:used"``."""
    prefix, _, local = curie.partition(":")
    return NAMESPACES[prefix] + local


class Identity(Enum):
    """How two records are known to be the same one; see *Identity* in ``docs/vocabulary.md``."""

    LOCAL = "local"
    """Known by its run and its place in it."""
    VERSION = "version"
    """An occurrence of data in one run: like LOCAL, and a specialization of its Content and DataReference."""
    CONTENT = "content"
    """Known by algorithm, digest and size: the same bytes anywhere are the same record."""
    NAMED = "named"
    """Known by authority, kind, name and scope: jobs that never met agree on it."""


@dataclass(frozen=True)
class Field:
    """One literal of a record: a column of its table and a property of its node.

    `type` is ``text``, ``integer``, ``real``, ``boolean``, ``time`` (int64 nanoseconds since the epoch), ``value`` (a typed
    literal, kept as text beside the name of its type) or ``reference`` (the id of another record; relations only).
    """

    name: str
    type: str
    iri: str
    comment: str


@dataclass(frozen=True)
class Class:
    """One PROV-ML class. See the module docstring. `exact` are types of its own records, not of those of classes below."""

    code: int
    name: str
    kind: str
    parent: str | None
    prov: tuple[str, ...]
    mls: tuple[str, ...]
    origin: str
    identity: Identity
    comment: str
    fields: tuple[Field, ...] = ()
    close: tuple[str, ...] = ()
    abstract: bool = False
    exact: tuple[str, ...] = ()

    @property
    def iri(self) -> str:
        """The full IRI of the class."""
        return NAMESPACES["provml"] + self.name


@dataclass(frozen=True)
class Relation:
    """One relation between two records: a table with a subject, an object and perhaps fields of its own.

    `qualified` names the PROV-O qualification (property, class, property of the object) that carries the fields.
    `domain` and `range` name classes, any of which, or a class below, may stand there; where not every one goes with
    every other, `pairs` says which go together. `implies` is a further type of the subject.
    """

    code: int
    name: str
    iri: str
    domain: tuple[str, ...]
    range: tuple[str, ...]
    origin: str
    comment: str
    fields: tuple[Field, ...] = ()
    qualified: tuple[str, str, str] | None = None
    implies: str | None = None
    pairs: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()


def _text(name: str, iri: str, comment: str) -> Field:
    return Field(name, "text", iri, comment)


def _integer(name: str, iri: str, comment: str) -> Field:
    return Field(name, "integer", iri, comment)


def _real(name: str, iri: str, comment: str) -> Field:
    return Field(name, "real", iri, comment)


_LABEL = _text("label", "rdfs:label", "the name a person knows it by")
_RANKS = _text("ranks", "provml:ranks", 'the ranks that said it, as ranges: "0-3,7"')
_ATTEMPT = _integer("attempt", "provml:attempt", "the attempt of the run it belongs to, from 1")
_START = Field("start_ns", "time", "prov:startedAtTime", "the earliest start over its ranks")
_END = Field("end_ns", "time", "prov:endedAtTime", "the latest end over its ranks")
_OUTCOME = _text("outcome", "provml:outcome", "completed, failed, or open where no end was recorded")
_ACTIVITY = (_LABEL, _START, _END, _OUTCOME, _ATTEMPT, _RANKS)
_NAME = (_LABEL,)
_VALUE = Field("value", "value", "mls:hasValue", "the value, with the type it was given in")
_STEP = _integer("step", "provml:step", "the training step it was said for")
_NAMED_VALUE = (_LABEL, _VALUE, _ATTEMPT, _RANKS)
_VERSION = (
    _LABEL,
    _text("path", "provml:path", "where the bytes were, as an absolute path, or the identifier in a store"),
    _text("select", "provml:select", "the part of it that was meant"),
    _integer("size", "provml:size", "bytes"),
    Field("modified_ns", "time", "dcterms:modified", "the modification time that the file system told"),
    _text("digest_state", "provml:digestState", "whole, sampled, given, changed, missing, failed, or empty if not asked for"),
    _STEP,
    _ATTEMPT,
    _RANKS,
)

_RETRO, _PLAN, _AGENT, _PLACE = "retrospective", "prospective", "agent", "place"
_L, _V, _C, _N = Identity.LOCAL, Identity.VERSION, Identity.CONTENT, Identity.NAMED
_OLD, _OURS = "attested", "ours"
_ENT, _ACT, _PL = ("prov:Entity",), ("prov:Activity",), ("prov:Plan",)

CLASSES: tuple[Class, ...] = (
    Class(1, "Study", _PLAN, None, ("prov:Entity", "prov:Collection"), (), _OLD, _N,
          "A question that several experiments work on.", _NAME, ("mls:Study",)),
    Class(2, "Workflow", _PLAN, None, _PL, (), _OLD, _N, "The plan of a curation or preparation job.", _NAME),
    Class(3, "LearningExperiment", _PLAN, "Workflow", _PL, (), _OLD, _N, "The plan of a learning job.", _NAME,
          ("mls:Experiment",)),
    Class(4, "WorkflowExecution", _RETRO, None, _ACT, (), _OLD, _L, "One run of a curation or preparation job.",
          (*_ACTIVITY, _text("phase", "provml:phase", "curation, preparation or learning"),
           _text("run", "provml:runId", "the uuid of the run"))),
    Class(5, "LearningExperimentExecution", _RETRO, "WorkflowExecution", _ACT, ("mls:Experiment",), _OURS, _L,
          "One run of a learning job."),
    Class(6, "DataTransformation", _PLAN, None, _PL, (), _OLD, _N, "The plan of a step that makes data from data.", _NAME),
    Class(7, "DataTransformationExecution", _RETRO, None, _ACT, (), _OLD, _L, "One step that made data from data.", _ACTIVITY),
    Class(8, "BaseLearningStage", _PLAN, None, _PL, (), _OLD, _N, "What learning stages and their sections have in common.",
          _NAME, abstract=True),
    Class(9, "LearningStage", _PLAN, "BaseLearningStage", _PL, (), _OLD, _N, "The plan of a stage of learning.", abstract=True),
    Class(10, "Training", _PLAN, "LearningStage", _PL, (), _OLD, _N, "The plan of a training."),
    Class(11, "Validation", _PLAN, "LearningStage", _PL, (), _OLD, _N, "The plan of a validation."),
    Class(12, "Evaluation", _PLAN, "LearningStage", _PL, (), _OLD, _N, "The plan of an evaluation."),
    Class(13, "LearningStageSection", _PLAN, "BaseLearningStage", _PL, (), _OLD, _N,
          "The plan of a section of a stage: epochs, folds, groups of batches."),
    Class(14, "LearningStageExecution", _RETRO, None, _ACT, ("mls:Run",), _OLD, _L, "One stage of learning that ran.",
          _ACTIVITY, abstract=True),
    Class(15, "TrainingExecution", _RETRO, "LearningStageExecution", _ACT, ("mls:Run",), _OLD, _L, "One training that ran."),
    Class(16, "ValidationExecution", _RETRO, "LearningStageExecution", _ACT, ("mls:Run",), _OURS, _L, "One validation that ran."),
    Class(17, "EvaluationExecution", _RETRO, "LearningStageExecution", _ACT, ("mls:Run",), _OLD, _L, "One evaluation that ran."),
    Class(18, "LearningStageSectionExecution", _RETRO, None, _ACT, (), _OLD, _L,
          "One epoch, fold or group of batches that ran.",
          (*_ACTIVITY, _text("section_kind", "provml:sectionKind", "epoch, fold, batch, or what the user calls it"),
           _integer("section_index", "provml:sectionIndex", "its place among the sections of its kind"),
           Field("item", "value", "provml:sectionItem", "what was iterated over, where that was not a plain count"))),
    Class(19, "FeatureExtraction", _PLAN, None, _PL, (), _OLD, _N, "The plan of an extraction of features.", _NAME),
    Class(20, "FeatureExtractionExecution", _RETRO, None, _ACT, (), _OLD, _L, "One extraction of features that ran.", _ACTIVITY),
    Class(21, "Dataset", _RETRO, None, _ENT, ("mls:Dataset",), _OURS, _V, "Data as one run saw it, raw or intermediate.", _VERSION),
    Class(22, "LearningDataset", _RETRO, "Dataset", _ENT, ("mls:Dataset",), _OLD, _V, "Data that a model learns from or is tried on."),
    Class(23, "FeatureSetData", _RETRO, "Dataset", _ENT, ("mls:Dataset",), _OLD, _V, "Features that were extracted."),
    Class(24, "Model", _RETRO, None, _ENT, ("mls:Model",), _OLD, _V, "A trained model, or a checkpoint of one, as one run saw it.",
          _VERSION),
    Class(25, "Content", _RETRO, None, _ENT, (), _OURS, _C, "The bytes themselves, wherever they lie.",
          (_text("algorithm", "provml:digestAlgorithm", "how the digest was made"),
           _text("digest", "provml:digest", "the digest, in hexadecimal"),
           _integer("size", "provml:size", "bytes"))),
    Class(26, "DataStore", _PLACE, None, ("prov:Location",), (), _OLD, _N, "Where data lies: a file system, a database, a web site.",
          _NAME),
    Class(27, "DataReference", _RETRO, None, _ENT, (), _OLD, _N, "The name of data within its store.",
          (_LABEL, _text("identifier", "dcterms:identifier", "the path, table or address"))),
    Class(28, "DatasetCharacteristic", _RETRO, None, _ENT, ("mls:DatasetCharacteristic",), _OLD, _L,
          "A fact about a dataset: its samples, extent, variables.", _NAMED_VALUE),
    Class(29, "LearningTask", _PLAN, None, _ENT, ("mls:Task",), _OLD, _N, "What is to be learned: classification, regression.", _NAME),
    Class(30, "Algorithm", _PLAN, None, _ENT, ("mls:Algorithm",), _OLD, _N, "How it is learned, apart from any code.", _NAME),
    Class(31, "Implementation", _RETRO, None, ("prov:Entity", "prov:Plan"), ("mls:Implementation",), _OURS, _N,
          "The code that ran, in the version that ran.",
          (_LABEL, _text("version", "provml:version", "the commit, or the digest of the script"))),
    Class(32, "Software", _RETRO, None, ("prov:Entity", "prov:Plan"), ("mls:Software",), _OURS, _N, "A package that the code needs.",
          (_LABEL, _text("version", "provml:version", "its version"))),
    Class(33, "LearningHyperparameter", _PLAN, None, _ENT, ("mls:HyperParameter",), _OLD, _N, "A knob of the learning.", _NAME),
    Class(34, "LearningHyperparameterValue", _RETRO, None, _ENT, ("mls:HyperParameterSetting",), _OLD, _L,
          "How a knob of the learning was set.", _NAMED_VALUE),
    Class(35, "ModelHyperparameter", _PLAN, None, _ENT, ("mls:HyperParameter",), _OURS, _N, "A knob of the model's shape.", _NAME),
    Class(36, "ModelHyperparameterValue", _RETRO, None, _ENT, ("mls:HyperParameterSetting",), _OURS, _L,
          "How a knob of the model's shape was set.", _NAMED_VALUE),
    Class(37, "EvaluationMeasure", _PLAN, None, _ENT, ("mls:EvaluationMeasure",), _OLD, _N, "What is measured: loss, accuracy.", _NAME),
    Class(38, "EvaluationSpecification", _PLAN, None, _ENT, ("mls:EvaluationSpecification",), _OURS, _N,
          "Which measures decide, by which procedure.", _NAME),
    Class(39, "EvaluationProcedure", _PLAN, None, _ENT, ("mls:EvaluationProcedure",), _OURS, _N,
          "How the measures are taken: hold-out, cross-validation.", _NAME),
    Class(40, "ModelEvaluation", _RETRO, None, _ENT, ("mls:ModelEvaluation",), _OLD, _L, "A measure's value at one moment.",
          (_LABEL, _VALUE, _STEP, Field("time_ns", "time", "prov:generatedAtTime", "when it was said"), _ATTEMPT, _RANKS)),
    Class(41, "Persona", _AGENT, None, ("prov:Agent",), (), _OLD, _N, "A person, or an organization, who works on the study.",
          (_LABEL, _text("identifier", "dcterms:identifier", "an ORCID, or user@domain")), exact=("prov:Person",)),
    Class(42, "Attribute", _PLAN, None, _ENT, (), _OLD, _N, "The name of a captured value that is none of the above.", _NAME),
    Class(43, "AttributeValue", _RETRO, None, _ENT, (), _OLD, _L, "A captured value that is none of the above.",
          (_LABEL, Field("value", "value", "prov:value", "the value, with the type it was given in"), _ATTEMPT, _RANKS)),
    Class(44, "Job", _AGENT, None, ("prov:SoftwareAgent",), (), _OURS, _L, "The job, as the agent that acts for its person.",
          (_LABEL, _text("identifier", "dcterms:identifier", "the scheduler's id, where there is one"), _ATTEMPT)),
    Class(45, "Rank", _AGENT, None, ("prov:SoftwareAgent",), (), _OURS, _L, "One process of the job.",
          (_LABEL, _integer("rank", "provml:rank", "its number in the run's communicator"),
           _integer("pid", "provml:processId", "its process id"), _ATTEMPT)),
    Class(46, "ComputeNode", _PLACE, None, ("prov:Location",), (), _OURS, _N, "A machine that ranks ran on.", _NAME),
    Class(47, "Device", _PLACE, None, ("prov:Location",), (), _OURS, _N, "An accelerator of a node, or a slice of one.",
          (_LABEL, _text("identifier", "dcterms:identifier", "the UUID that its driver gives it"),
           _text("model", "provml:deviceModel", "what its maker calls it"))),
    Class(48, "Attempt", _RETRO, None, _ACT, (), _OURS, _L, "One start of the run; a requeued job has several.", _ACTIVITY),
    Class(49, "RankExecution", _RETRO, None, _ACT, (), _OURS, _L, "One rank's part in a shared activity.",
          (*_ACTIVITY, _integer("rank", "provml:rank", "the rank whose part it is"))),
    Class(50, "MetricSeries", _RETRO, None, _ENT, (), _OURS, _L, "All samples of one measure in one activity, summed up.",
          (_LABEL, _integer("count", "provml:count", "samples"), _real("minimum", "provml:minimum", "the least that is a number"),
           _real("maximum", "provml:maximum", "the greatest that is a number"),
           _real("last", "provml:last", "the value at the latest time"),
           _text("by_rank", "provml:byRank", "count, minimum, maximum and last of each rank, as JSON"),
           _text("file", "provml:hdf5File", "the HDF5 file that holds the samples"),
           _text("path", "provml:hdf5Path", "their table in it"), _text("column", "provml:hdf5Column", "their column in the table"),
           _integer("first_row", "provml:firstRow", "their first row"), _integer("row_count", "provml:rowCount", "their rows there"),
           _text("elsewhere", "provml:alsoAt", "the other tables that hold some, with column and rows, as JSON: where the measure was logged beside others now and then"),
           _ATTEMPT)),
    Class(51, "TelemetrySeries", _RETRO, "MetricSeries", _ENT, (), _OURS, _L,
          "Samples of one counter of a device, a node or a rank's process.",
          (_text("unit", "provml:unit", "the unit of its values: W, J, B, %"),)),
    Class(52, "Organization", _AGENT, "Persona", ("prov:Agent", "prov:Organization"), (), _OURS, _N,
          "A group or institution that works on the study."),
)

_ANY_ACTIVITY = ("WorkflowExecution", "DataTransformationExecution", "LearningStageExecution", "LearningStageSectionExecution",
                 "FeatureExtractionExecution", "Attempt", "RankExecution")
_DATA = ("Dataset", "Model")
_SETTING = ("LearningHyperparameterValue", "ModelHyperparameterValue")
_PLANS = ("Workflow", "DataTransformation", "BaseLearningStage", "FeatureExtraction")
_ROLE = _text("role", "prov:hadRole", "what part it played")
_TIME = Field("time_ns", "time", "prov:atTime", "when it was said")
_RUN = ("LearningStageExecution",)

RELATIONS: tuple[Relation, ...] = (
    Relation(1, "used", "prov:used", _ANY_ACTIVITY, (*_DATA, *_SETTING, "AttributeValue"), _OLD, "An activity read it.",
             (_ROLE, _TIME, _RANKS), ("prov:qualifiedUsage", "prov:Usage", "prov:entity")),
    Relation(2, "wasGeneratedBy", "prov:wasGeneratedBy",
             (*_DATA, "ModelEvaluation", "AttributeValue", "MetricSeries"), _ANY_ACTIVITY, _OLD, "An activity made it.",
             (_TIME, _RANKS), ("prov:qualifiedGeneration", "prov:Generation", "prov:activity")),
    Relation(3, "wasDerivedFrom", "prov:wasDerivedFrom", _DATA, _DATA, _OLD, "It was made from the other, as the user said."),
    Relation(4, "wasRevisionOf", "prov:wasRevisionOf", _DATA, _DATA, _OLD, "A later version of it that the same run saw."),
    Relation(5, "specializationOf", "prov:specializationOf", _DATA, ("Content", "DataReference"), _OLD,
             "This occurrence has those bytes, or lay at that place."),
    Relation(6, "wasAssociatedWith", "prov:wasAssociatedWith", _ANY_ACTIVITY, ("Persona", "Job", "Rank"), _OLD,
             "Who or what carried it out, by which plan.",
             (Field("plan", "reference", "prov:hadPlan", "the plan that was followed"), _ROLE),
             ("prov:qualifiedAssociation", "prov:Association", "prov:agent")),
    Relation(7, "actedOnBehalfOf", "prov:actedOnBehalfOf", ("Rank", "Job"), ("Job", "Persona"), _OLD, "For whom it acted.",
             pairs=((("Rank",), ("Job",)), (("Job",), ("Persona",)))),
    Relation(8, "wasInformedBy", "prov:wasInformedBy", _ANY_ACTIVITY, _ANY_ACTIVITY, _OLD, "It went on from the other."),
    Relation(9, "wasAttributedTo", "prov:wasAttributedTo", (*_DATA, "TelemetrySeries"), ("Persona", "Job", "Rank"), _OLD,
             "Whose work it is; of a telemetry series, the rank whose process it tells of."),
    Relation(10, "hadMember", "prov:hadMember", ("Study", *_DATA), (*_DATA, "Workflow"), _OLD,
             "It belongs to the collection: a directory, a dataset made of shards, a study.", implies="prov:Collection",
             pairs=((("Study",), ("Workflow",)), (_DATA, _DATA))),
    Relation(11, "atLocation", "prov:atLocation", ("Rank", "DataReference", "TelemetrySeries"), ("ComputeNode", "DataStore", "Device"),
             _OLD, "Where it ran, lies, or was sampled.",
             pairs=((("Rank", "TelemetrySeries"), ("ComputeNode", "Device")), (("DataReference",), ("DataStore",)))),
    Relation(12, "isPartOf", "dcterms:isPartOf", (*_ANY_ACTIVITY, *_PLANS, "Device"),
             (*_ANY_ACTIVITY, *_PLANS, "Device", "ComputeNode"), _OLD, "The whole it is a part of.",
             pairs=((_ANY_ACTIVITY, _ANY_ACTIVITY), (_PLANS, _PLANS), (("Device",), ("Device", "ComputeNode")))),
    Relation(13, "realizes", "mls:realizes", _RUN, ("Algorithm",), _OLD, "The algorithm that a stage followed."),
    Relation(14, "executes", "mls:executes", _RUN, ("Implementation",), _OLD, "The code that a stage ran."),
    Relation(15, "achieves", "mls:achieves", _RUN, ("LearningTask",), _OLD, "The task that a stage worked on."),
    Relation(16, "hasHyperParameter", "mls:hasHyperParameter", ("Implementation",),
             ("LearningHyperparameter", "ModelHyperparameter"), _OLD, "A knob that the code has."),
    Relation(17, "hasInput", "mls:hasInput", _RUN, ("Dataset", *_SETTING), _OLD, "Data or a setting that a stage took in."),
    Relation(18, "hasOutput", "mls:hasOutput", _RUN, ("Model", "ModelEvaluation"), _OLD, "A model or measure that a stage gave."),
    Relation(19, "hasPart", "mls:hasPart", ("LearningExperimentExecution", "EvaluationSpecification"),
             ("LearningStageExecution", "EvaluationMeasure", "EvaluationProcedure"), _OLD, "A part of the whole.",
             pairs=((("LearningExperimentExecution",), _RUN),
                    (("EvaluationSpecification",), ("EvaluationMeasure", "EvaluationProcedure")))),
    Relation(20, "hasQuality", "mls:hasQuality", ("Dataset",), ("DatasetCharacteristic",), _OLD, "A fact about the data."),
    Relation(21, "specifiedBy", "mls:specifiedBy", (*_SETTING, "ModelEvaluation"),
             ("LearningHyperparameter", "ModelHyperparameter", "EvaluationMeasure"), _OLD, "The knob or measure that the value is of.",
             pairs=((("LearningHyperparameterValue",), ("LearningHyperparameter",)),
                    (("ModelHyperparameterValue",), ("ModelHyperparameter",)),
                    (("ModelEvaluation",), ("EvaluationMeasure",)))),
    Relation(22, "definedOn", "mls:definedOn", ("LearningTask",), ("Dataset", "EvaluationSpecification"), _OLD,
             "What the task is set on."),
    Relation(23, "implements", "mls:implements", ("Implementation",), ("Algorithm",), _OLD, "The algorithm that the code follows."),
    Relation(24, "valueOf", "provml:valueOf", ("AttributeValue", "MetricSeries"), ("Attribute", "EvaluationMeasure"), _OURS,
             "The attribute or measure that it is a value of.",
             pairs=((("AttributeValue",), ("Attribute",)), (("MetricSeries",), ("EvaluationMeasure", "Attribute")))),
    Relation(25, "hasSetting", "provml:hasSetting", ("Model",), ("ModelHyperparameterValue",), _OURS, "How the model was shaped."),
    Relation(26, "ofModel", "provml:ofModel", ("ModelEvaluation",), ("Model",), _OURS, "The model that was measured."),
    Relation(27, "onData", "provml:onData", ("ModelEvaluation",), ("Dataset",), _OURS, "The data that it was measured on."),
    Relation(28, "requires", "dcterms:requires", ("Implementation",), ("Software",), _OURS, "A package that the code needs."),
    Relation(29, "hasAttribute", "provml:hasAttribute", (*_DATA, *_ANY_ACTIVITY, "Rank", "Job", "ComputeNode", "Device"),
             ("AttributeValue",), _OURS,
             "A captured fact about it."),
    Relation(30, "assessedBy", "provml:assessedBy", _RUN, ("EvaluationSpecification",), _OURS,
             "Which measures decide how good what a stage made is, and how they are taken."),
)

PLAN_OF = {
    "WorkflowExecution": "Workflow",
    "LearningExperimentExecution": "LearningExperiment",
    "DataTransformationExecution": "DataTransformation",
    "TrainingExecution": "Training",
    "ValidationExecution": "Validation",
    "EvaluationExecution": "Evaluation",
    "LearningStageSectionExecution": "LearningStageSection",
    "FeatureExtractionExecution": "FeatureExtraction",
}
"""Which prospective class plans which retrospective one."""

APART = frozenset({"fold", "split", "trial", "repeat", "repetition", "seed", "candidate"})
"""Kinds of sections that run apart from each other, where others, such as epochs, go on from what went before."""

CLASS = {c.name: c for c in CLASSES}
CLASS_OF_CODE = {c.code: c for c in CLASSES}
RELATION = {r.name: r for r in RELATIONS}


@cache
def lineage(name: str) -> tuple[str, ...]:
    """Return a class and the classes above it, nearest first."""
    cls = CLASS[name]
    return (name, *(lineage(cls.parent) if cls.parent else ()))


@cache
def fields(name: str) -> tuple[Field, ...]:
    """Return the fields of a class, those of the classes above it first."""
    own = CLASS[name].fields
    parent = CLASS[name].parent
    inherited = fields(parent) if parent else ()
    have = {field.name for field in inherited}
    return inherited + tuple(field for field in own if field.name not in have)


@cache
def below(name: str) -> frozenset[str]:
    """Return a class and all classes below it."""
    return frozenset(c.name for c in CLASSES if name in lineage(c.name))


def allows(names: tuple[str, ...], cls: str) -> bool:
    """Tell whether a class is one of `names` or below one of them."""
    return any(cls in below(name) for name in names)


def pairs(relation: Relation) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Return which classes of a relation's domain go with which of its range."""
    return relation.pairs or ((relation.domain, relation.range),)


def may_relate(relation: Relation, subject: str, target: str) -> bool:
    """Tell whether a relation may hold between two classes."""
    return any(allows(domain, subject) and allows(range_, target) for domain, range_ in pairs(relation))
