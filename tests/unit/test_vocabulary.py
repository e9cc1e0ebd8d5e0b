"""The vocabulary as a table: codes that never change, ends that exist, and terms that are called what they are."""

from __future__ import annotations

import re

import pytest

from provml_hpc import vocabulary
from provml_hpc.vocabulary import CLASSES, NAMESPACES, RELATIONS


def words(text: str) -> list[str]:
    return text.split()


CLASS_CODES = words(
    """
Study Workflow LearningExperiment WorkflowExecution LearningExperimentExecution DataTransformation
DataTransformationExecution BaseLearningStage LearningStage Training Validation Evaluation LearningStageSection
LearningStageExecution TrainingExecution ValidationExecution EvaluationExecution LearningStageSectionExecution
FeatureExtraction FeatureExtractionExecution Dataset LearningDataset FeatureSetData Model Content DataStore
DataReference DatasetCharacteristic LearningTask Algorithm Implementation Software LearningHyperparameter
LearningHyperparameterValue ModelHyperparameter ModelHyperparameterValue EvaluationMeasure EvaluationSpecification
EvaluationProcedure ModelEvaluation Persona Attribute AttributeValue Job Rank ComputeNode Device Attempt RankExecution
MetricSeries TelemetrySeries Organization
"""
)
RELATION_CODES = words(
    """
used wasGeneratedBy wasDerivedFrom wasRevisionOf specializationOf wasAssociatedWith actedOnBehalfOf wasInformedBy
wasAttributedTo hadMember atLocation isPartOf realizes executes achieves hasHyperParameter hasInput hasOutput hasPart
hasQuality specifiedBy definedOn implements valueOf hasSetting ofModel onData requires hasAttribute
"""
)
ATTESTED = words(
    """
Study Workflow LearningExperiment WorkflowExecution DataTransformation DataTransformationExecution BaseLearningStage
LearningStage LearningStageSection Training Validation Evaluation LearningStageExecution TrainingExecution
EvaluationExecution FeatureExtraction FeatureExtractionExecution FeatureSetData LearningTask Algorithm
LearningHyperparameter LearningHyperparameterValue LearningDataset DatasetCharacteristic Model EvaluationMeasure
ModelEvaluation Persona DataStore DataReference Attribute AttributeValue
"""
)
OURS = words(
    """
LearningExperimentExecution ValidationExecution Implementation Software ModelHyperparameter ModelHyperparameterValue
Job Rank ComputeNode Device Attempt RankExecution Dataset Content MetricSeries TelemetrySeries Organization
"""
)
NOT_ATTESTED_ANYWHERE = words(
    """
LearningDataSetReference LearningProcess Learner IOSet FeatureSetting PreparedModel Testing TestingExecution
"""
)


def test_codes_and_names_stay_what_files_were_written_with() -> None:
    assert [(c.code, c.name) for c in CLASSES][: len(CLASS_CODES)] == list(enumerate(CLASS_CODES, 1))
    assert [(r.code, r.name) for r in RELATIONS][: len(RELATION_CODES)] == list(enumerate(RELATION_CODES, 1))


def test_codes_and_names_are_unique() -> None:
    for table in (CLASSES, RELATIONS):
        assert len({row.code for row in table}) == len({row.name for row in table}) == len(table)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
def test_a_class_is_said_whole(cls: vocabulary.Class) -> None:
    lineage = vocabulary.lineage(cls.name)
    assert len(set(lineage)) == len(lineage)
    assert lineage[0] == cls.name
    assert cls.kind in {"prospective", "retrospective", "agent", "place"}
    assert cls.origin in {"attested", "ours"}
    assert cls.comment.endswith(".")
    assert cls.prov
    for term in (*cls.prov, *cls.mls, *cls.close):
        assert vocabulary.expand(term).startswith("http://www.w3.org/ns/")
    assert cls.name in vocabulary.below(lineage[-1])
    names = [field.name for field in vocabulary.fields(cls.name)]
    assert len(set(names)) == len(names)
    assert not set(names) & {"id", "uuid", "subject", "object"}
    if cls.kind == "prospective":  # a plan is never one of ML-Schema's processes
        assert not {"mls:Study", "mls:Experiment", "mls:Run"} & set(cls.mls)


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_a_relation_stands_between_classes_that_exist(relation: vocabulary.Relation) -> None:
    assert relation.domain
    assert relation.range
    for name in (*relation.domain, *relation.range):
        assert name in vocabulary.CLASS
    assert relation.iri.partition(":")[0] in NAMESPACES
    assert relation.comment.endswith(".")
    assert (relation.origin == "ours") == (relation.iri.startswith("provml:") or relation.name == "requires")
    for term in (*(relation.qualified or ()), *filter(None, [relation.implies])):
        assert vocabulary.expand(term).startswith(NAMESPACES["prov"])


@pytest.mark.parametrize("relation", [one for one in RELATIONS if one.pairs], ids=lambda relation: relation.name)
def test_what_goes_together_is_all_that_may_stand_there(relation: vocabulary.Relation) -> None:
    assert {name for domain, _ in relation.pairs for name in domain} == set(relation.domain)
    assert {name for _, range_ in relation.pairs for name in range_} == set(relation.range)
    for domain, range_ in relation.pairs:
        assert all(vocabulary.may_relate(relation, one, other) for one in domain for other in range_)
    # Otherwise there would be nothing to say.
    assert not all(vocabulary.may_relate(relation, one, other) for one in relation.domain for other in relation.range)


def test_a_relation_without_pairs_holds_between_any_two_of_its_ends() -> None:
    used = vocabulary.RELATION["used"]
    assert vocabulary.may_relate(used, "TrainingExecution", "Model")
    assert not vocabulary.may_relate(used, "Model", "TrainingExecution")
    assert not vocabulary.may_relate(vocabulary.RELATION["hasPart"], "EvaluationSpecification", "TrainingExecution")


@pytest.mark.parametrize("owner", [*CLASSES, *RELATIONS], ids=lambda owner: owner.name)
def test_fields_have_types_and_iris_that_are_known(owner: vocabulary.Class | vocabulary.Relation) -> None:
    types = {"text", "integer", "real", "boolean", "time", "value"}
    if isinstance(owner, vocabulary.Relation):
        types.add("reference")
    for field in owner.fields:
        assert field.type in types
        assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name)
        assert field.iri.partition(":")[0] in NAMESPACES
        assert field.iri not in {"prov:role", "prov:type", "prov:label"}, "not properties of PROV-O"


def test_an_origin_is_what_the_authors_of_prov_ml_published() -> None:
    assert {name for name in ATTESTED if vocabulary.CLASS[name].origin != "attested"} == set()
    assert {name for name in OURS if vocabulary.CLASS[name].origin != "ours"} == set()
    assert not set(NOT_ATTESTED_ANYWHERE) & set(vocabulary.CLASS)
    # What ML-Schema or the naming pattern suggests; what is left must be decided about here.
    by_pattern = {"LearningStageSectionExecution", "EvaluationSpecification", "EvaluationProcedure"}
    assert {c.name for c in CLASSES} == {*ATTESTED, *OURS, *by_pattern}


def test_the_stages_are_three() -> None:
    concrete = {name for name in vocabulary.below("LearningStage") if not vocabulary.CLASS[name].abstract}
    assert concrete == {"Training", "Validation", "Evaluation"}


def test_every_execution_has_the_plan_of_its_name() -> None:
    for execution, plan in vocabulary.PLAN_OF.items():
        assert execution == f"{plan}Execution"
        assert "prov:Activity" in vocabulary.CLASS[execution].prov
        assert "prov:Plan" in vocabulary.CLASS[plan].prov


def test_ml_schema_is_said_only_of_what_it_allows() -> None:
    # mls:Run is what a stage execution is; nothing else may have inputs, outputs, an algorithm or a task.
    for name in ("hasInput", "hasOutput", "realizes", "executes", "achieves"):
        for cls in vocabulary.RELATION[name].domain:
            assert all("mls:Run" in vocabulary.CLASS[one].mls for one in vocabulary.below(cls))
    expected = {
        "hasInput": {"mls:Dataset", "mls:HyperParameterSetting"},
        "hasOutput": {"mls:Model", "mls:ModelEvaluation"},
        "executes": {"mls:Implementation"},
        "realizes": {"mls:Algorithm"},
        "achieves": {"mls:Task"},
        "hasQuality": {"mls:DatasetCharacteristic"},
        "hasHyperParameter": {"mls:HyperParameter"},
    }
    for name, classes in expected.items():
        ends = {term for cls in vocabulary.RELATION[name].range for term in vocabulary.CLASS[cls].mls}
        assert ends == classes
    for one in ("Implementation", "Software"):
        assert not {"mls:Implementation", "mls:Software"} <= set(vocabulary.CLASS[one].mls)


def test_only_inverse_free_prov_names_are_said() -> None:
    assert vocabulary.expand("prov:used") == "http://www.w3.org/ns/prov#used"
    assert not {r.name for r in RELATIONS} & {"generated", "wasUsedBy", "wasMemberOf", "hadDerivation"}
    assert vocabulary.CLASS["Model"].iri == "https://w3id.org/provml-hpc/ns#Model"


def test_allows_looks_at_the_classes_above() -> None:
    assert vocabulary.allows(("Dataset",), "FeatureSetData")
    assert not vocabulary.allows(("FeatureSetData",), "Dataset")
