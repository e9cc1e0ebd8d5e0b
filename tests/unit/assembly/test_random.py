"""Random runs of several ranks: whatever they say, the graph keeps the rules, and keeps its uuids as it grows."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from provml_hpc import records, wire
from provml_hpc.assembly import RunInfo, assemble
from provml_hpc.assembly.graph import Graph
from provml_hpc.errors import ProvMLError
from provml_hpc.records import NO_STEP
from tests.unit.assembly.builder import (
    EVALUATION,
    GONE,
    NOON,
    RUN,
    STEP,
    TRAINING,
    FakeFrames,
    Look,
    Prefix,
    View,
    Writer,
)

PATHS = ("/d/a", "/d/b", "/m/net.npz")
LOOKS: tuple[Look, ...] = (GONE, (1, 10, 1), (1, 10, 1), (2, 0, 2), (3, 12, 1010), (4, 10, 1025))
DIGESTS = ("sha256:aa", "sha256:bb", "provml-sample-1:cc", "")
VALUES = ("LearningHyperparameterValue", "ModelHyperparameterValue", "AttributeValue", "DatasetCharacteristic")
SETTINGS = settings(max_examples=60)
SEEDS = st.integers(0, 2**32)


class Actor:
    """One rank that does as it is drawn."""

    def __init__(self, rank: Writer) -> None:
        self.rank = rank
        self.open = [0]
        self.entities: list[int] = []
        self.unsettled: list[int] = []

    def act(self, chance: Random) -> None:
        rank = self.rank
        at = chance.choice(self.open[-3:])
        path, look = chance.choice(PATHS), chance.choice(LOOKS)
        data = chance.choice(["LearningDataset", "Dataset", "FeatureSetData", "Model"])
        one = chance.choice(self.entities) if self.entities else 0
        match chance.randint(0, 15):
            case 0 | 1:
                cls = chance.choice([TRAINING, EVALUATION, STEP, "FeatureExtractionExecution"])
                own, key = chance.random() < 0.5, chance.choice(["", "", "k"])
                more = {"task": "t", "algorithm": "SGD"} if chance.random() < 0.5 else {}
                signature = chance.choice(["", "s"])
                self.open.append(rank.open(cls, "n", at, own=own, key=key, signature=signature, **more))
            case 2:
                self.open.append(rank.section(at, chance.randint(0, 2)))
            case 3 if len(self.open) > 1:
                outcome = chance.choice([records.COMPLETED, records.FAILED, records.LEFT])
                rank.close(self.open.pop(), outcome)
            case 4 | 5:
                self.entities.append(rank.read(chance.choice(["", data]), path, look, activity=at))
            case 6 | 7:
                self.entities.append(rank.make(data, path, look, activity=at, step=chance.choice([NO_STEP, 3])))
                self.unsettled.append(self.entities[-1])
            case 8 if self.unsettled:
                rank.settle(self.unsettled.pop(), look)
            case 9:
                rank.digest(path, look, chance.choice(DIGESTS))
                rank.member(path, look, "part", chance.choice(DIGESTS))
            case 10 if one:
                rank(records.Derived(one, chance.choice(self.entities), chance.randint(0, 1)))
            case 11 if one:
                rank(records.Used(at, one, chance.choice(["", "training"])))
            case 12:
                rank(records.Evaluated(at, one, one, NO_STEP, "acc", "real", "0.5"))
                rank(records.Associated(at, "Ada", "", ""))
            case 13:
                cls = chance.choice(VALUES)
                rank.value(cls, "lr", "1", activity=at, entity=chance.choice([0, one]))
            case 14:
                measures = chance.choice([("x",), ("x", "y"), ("y", "x")])
                layout = rank.layout(at, *measures)
                for step in range(3):
                    rank.sample(layout, step, *[0.5] * len(measures), section=chance.choice(self.open))
            case 15:
                whole = rank.declare("LearningDataset", path, collection=True)
                if one:
                    rank(records.Member(whole, one))


def make_run(seed: int) -> FakeFrames:
    # Drawn from a seed and not step by step, since hypothesis takes minutes to draw and shrink such a thing.
    chance = Random(seed)
    frames = FakeFrames(chance.randint(1, 3))
    actors = [Actor(rank) for rank in frames.ranks()]
    for name, text in (("command.script", "/s/train.py"), ("code.commit", "c"), ("code.dirty", "false")):
        frames.rank(0)(records.Fact("run", name, "text", text))
    for _ in range(chance.randint(0, 80)):
        chance.choice(actors).act(chance)
    if chance.random() < 0.5:
        for actor in actors:
            actor.rank.end(chance.choice([records.COMPLETED, records.FAILED]))
    return frames


def graph_of(frames: Any) -> Graph:
    return assemble(frames, RunInfo(RUN, "facies-unet", "learning", study="s", authority="example.org"))


def rows_of(graph: Graph) -> list[tuple[str, list[dict[str, Any]]]]:
    tables = [*graph.nodes.items(), *graph.relations.items()]
    return [(name, [{k: str(v) for k, v in row.items()} for row in table.rows()]) for name, table in tables]


@SETTINGS
@given(SEEDS)
def test_a_graph_keeps_the_rules_and_comes_out_the_same_again(seed: int) -> None:
    frames = make_run(seed)
    view = View(graph_of(frames))  # which checks it
    assert rows_of(graph_of(frames)) == rows_of(view.graph)


@SETTINGS
@given(SEEDS)
def test_how_commits_cut_the_frames_changes_nothing(seed: int) -> None:
    frames, chance = make_run(seed), Random(~seed)
    whole = rows_of(graph_of(frames))
    for writer in frames.writers.values():
        block = bytes(writer.open_block)
        ends = [at + size for at, size, *_ in wire.walk(block)]
        cut = chance.choice(ends)
        writer.blocks, writer.open_block = [block[:cut]], bytearray(block[cut:])
    assert rows_of(graph_of(frames)) == whole


@SETTINGS
@given(SEEDS)
def test_what_a_live_reader_saw_keeps_its_uuid(seed: int) -> None:
    frames, chance = make_run(seed), Random(~seed)
    whole = View(graph_of(frames))
    counts = {source: chance.randint(1, writer.sequence) for source, writer in frames.writers.items()}
    live = View(graph_of(Prefix(frames, counts)))
    # What was only read may turn out to be what another rank made; all else is there for good.
    moving = {"LearningDataset", "Dataset", "FeatureSetData", "Model"}
    about_them = {"ModelEvaluation", "LearningHyperparameterValue", "ModelHyperparameterValue", "AttributeValue"}
    about_them |= {"DatasetCharacteristic", "Attribute", "Content", "DataReference"}
    for cls, table in live.graph.nodes.items():
        kept = set(whole.graph.nodes[cls].columns["uuid"]) if cls in whole.graph.nodes else set()
        made = {row["uuid"] for row, _ in live.ends("wasGeneratedBy")} if cls in moving else None
        for row in table.rows():
            if cls in about_them or (made is not None and row["uuid"] not in made):
                continue
            assert row["uuid"] in kept, (cls, row)


@SETTINGS
@given(SEEDS)
def test_damaged_bytes_give_a_graph_or_one_of_our_errors(seed: int) -> None:
    frames, chance = make_run(seed), Random(~seed)
    for writer in frames.writers.values():
        for _ in range(chance.randint(0, 6)):
            at = chance.randrange(len(writer.open_block))
            writer.open_block[at] = chance.randrange(256)
    try:
        graph = graph_of(frames)
    except ProvMLError:
        return
    for table in graph.samples:
        table.read(0, table.count)
    assert graph.run.details["last_ns"] if graph.nodes else True


def test_the_moments_are_as_the_builder_says() -> None:
    frames = FakeFrames()
    frames.rank().end()
    assert frames.view().one("Attempt")["start_ns"] == NOON + 1001 * 10**9
