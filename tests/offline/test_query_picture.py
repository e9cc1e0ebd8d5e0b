"""A lineage as a picture: what is in it, where it stands, and files that other programs read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from provml_hpc.assembly.graph import Graph
from provml_tools.cli import main
from provml_tools.query import Answer, Engine, ask
from provml_tools.query.folding import name_of
from provml_tools.query.picture import Box, Drawing, Lane, as_dot, as_svg
from provml_tools.query.picture.layout import GAP, WIDTH, layout
from provml_tools.query.provenance import Provenance
from tests.offline import query_fixtures as fixtures
from tests.offline.query_fixtures import DAY, MONDAY, Builder

SVG = "{http://www.w3.org/2000/svg}"


def lineage(graphs: Sequence[Graph], **values: str) -> Answer:
    return ask(Engine(graphs), "model-lineage", values)


def drawn(graphs: Sequence[Graph], **values: str) -> Drawing:
    draw = lineage(graphs, **values).draw
    assert draw is not None
    return draw()


def arrows(drawing: Drawing) -> set[tuple[str, str]]:
    return {(drawing.boxes[a].title, drawing.boxes[b].title) for a, b in drawing.arrows}


def chain(length: int) -> Graph:
    """Return a training whose model comes from a long chain of checkpoints, each made in its epoch."""
    job = Builder("long", "learning", MONDAY)
    training = job.activity("TrainingExecution", "training", 0, 1000)
    data = job.data("LearningDataset", "/d/tiles.h5", "tiles")
    job.use(training, data, 1)
    before = None
    for index in range(length):
        epoch = job.section(training, index, 1 + index, 1.9 + index)
        model = job.data("Model", f"/m/checkpoint-{index:04}.pt", f"weights {index}", step=10 * index)
        job.generate(model, epoch, 1.5 + index)
        if before is not None:
            job.link("wasDerivedFrom", model, before)
        before = model
    final = job.data("Model", "/m/final.pt", "final")
    job.generate(final, training, 900)
    assert before is not None
    job.link("wasDerivedFrom", final, before)
    job.measure(training, "accuracy", 0.9, 950, model=final)
    return job.graph()


def test_the_whole_way_with_a_lane_for_each_job() -> None:
    drawing = drawn(fixtures.jobs(), model="unet-0.npz")
    assert [(lane.name, lane.phase, lane.who, lane.when) for lane in drawing.lanes] == [
        ("facies-unet", "learning", "cleo", "2025-10-11"),
        ("make-tiles", "preparation", "ben", "2025-10-10"),
        ("curate-scans", "curation", "ada", "2025-10-09"),
    ]
    # The tiles were made in one job and used in another: the same bytes are one box, where they were made.
    lanes = {(box.title, drawing.lanes[box.lane].name) for box in drawing.boxes}
    assert {("tiles.h5", "make-tiles"), ("a.npy", "curate-scans"), ("unet-0.npz", "facies-unet")} <= lanes
    assert len([box for box in drawing.boxes if box.title == "tiles.h5"]) == 1
    assert arrows(drawing) == {
        ("a.dat", "clean"),
        ("b.dat", "clean"),
        ("clean", "a.npy"),
        ("clean", "b.npy"),
        ("a.npy", "split"),
        ("b.npy", "split"),
        ("notes.txt", "split"),
        ("split", "tiles.h5"),
        ("tiles.h5", "trial-0"),
        ("trial-0", "unet-0.npz"),
    }
    (start,) = (box for box in drawing.boxes if box.start)
    # What an evaluation found is said before what the training itself did.
    assert (start.title, start.details["f1"], start.details["accuracy"]) == ("unet-0.npz", 0.88, 0.91)
    assert next(box.details for box in drawing.boxes if box.title == "a.dat") == {"inlines": 100}


def test_a_long_chain_of_checkpoints_is_one_box_and_one_line() -> None:
    answer = lineage([chain(50)], model="final.pt")
    assert answer.draw is not None
    drawing = answer.draw()
    boxes = {(box.title, box.count) for box in drawing.boxes}
    assert boxes == {
        ("final.pt", 1),
        ("checkpoint-*.pt", 50),
        ("epoch 0-49", 50),
        ("training", 1),
        ("tiles.h5", 1),
    }
    (chained,) = (box for box in drawing.boxes if box.count == 50 and box.kind == "model")
    assert chained.details == {"steps": "0 to 490"}
    # A derivation within the box is no arrow.
    assert ("checkpoint-*.pt", "checkpoint-*.pt") not in arrows(drawing)
    assert ("checkpoint-*.pt", "final.pt") in arrows(drawing)
    assert answer.tree is not None
    told = [answer.rows[at].get("what for people", answer.rows[at]["what"]) for at, _ in answer.tree]
    assert sorted(told) == ["checkpoint-*.pt (50)", "epoch 0-49 (50)", "final.pt", "tiles.h5", "training"]
    assert len(answer.rows) == 103
    assert answer.remarks == ["what is alike is one line, with its number; --unfold shows each"]
    whole = lineage([chain(50)], model="final.pt", unfold="yes")
    assert whole.tree is not None
    assert (len(whole.tree), whole.remarks) == (103, [])


def test_the_way_back_along_a_chain_takes_steps_in_number_of_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    uses = Provenance.uses

    def counted(self: Provenance, activity: str) -> dict[str, int | None]:
        nonlocal asked
        asked += 1
        return uses(self, activity)

    monkeypatch.setattr(Provenance, "uses", counted)
    counts = []
    for length in (50, 100):
        asked = 0
        assert len(lineage([chain(length)], model="final.pt").rows) == 2 * length + 3
        counts.append(asked)
    assert counts[1] < 2.5 * counts[0]


def test_two_alike_are_two_and_the_model_itself_is_never_folded() -> None:
    drawing = drawn([chain(3)], model="checkpoint-0002.pt")
    models = {(box.title, box.count, box.start) for box in drawing.boxes if box.kind == "model"}
    assert models == {
        ("checkpoint-0002.pt", 1, True),
        ("checkpoint-0000.pt", 1, False),
        ("checkpoint-0001.pt", 1, False),
    }


def test_many_files_of_different_names_with_the_same_part_are_one_box() -> None:
    job = Builder("prepare", "preparation", MONDAY)
    split = job.activity("DataTransformationExecution", "split", 1, 50)
    names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"]
    for at, name in enumerate(names):
        job.use(split, job.data("Dataset", f"/raw/{name}.csv", name), 2 + at)
    model = job.data("Model", "/m/x.npz", "x")
    job.generate(model, split, 40)
    drawing = drawn([job.graph()])
    assert {(box.title, box.count) for box in drawing.boxes} == {("*.csv", 7), ("split", 1), ("x.npz", 1)}
    assert len(drawing.arrows) == 2


def test_a_derivation_without_a_step_between_is_an_arrow() -> None:
    job = Builder("prepare", "preparation", MONDAY)
    raw, model = job.data("Dataset", "/raw/a.csv", "a"), job.data("Model", "/m/x.npz", "x")
    step = job.activity("DataTransformationExecution", "step", 1, 50)
    job.generate(model, step, 40)
    job.link("wasDerivedFrom", model, raw)
    assert arrows(drawn([job.graph()])) == {("a.csv", "x.npz"), ("step", "x.npz")}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a/1.npz", "a/2.npz", "a/10.npz"], "a/*.npz"),
        (["epoch 9", "epoch 10", "epoch 11"], "epoch 9-11"),
        (["epoch 1", "epoch 3"], "epoch *"),
        (["x", "x", "x"], "x"),
        (["run 1 of 3", "run 2 of 3", "run 3 of 3"], "run * of 3"),
        (["aa", "a"], "a*"),
        (["", "b"], "*"),
    ],
)
def test_one_name_for_several(names: list[str], told: str) -> None:
    assert name_of(names) == told


def test_no_two_boxes_touch_and_arrows_lead_down() -> None:
    for drawing in (drawn(fixtures.jobs()), drawn([chain(50)]), circle(), crossing(9)):
        placed = layout(drawing, [50.0] * len(drawing.boxes))
        boxes = placed.boxes
        for at, one in enumerate(boxes):
            x, y, width, height = placed.lanes[one.lane]
            assert x <= one.x - WIDTH / 2
            assert one.x + WIDTH / 2 <= x + width
            assert y <= one.y
            assert one.y + one.height <= y + height
            for other in boxes[:at]:
                beside = abs(one.x - other.x) >= WIDTH + GAP - 0.01
                assert beside or abs(one.y - other.y) >= 50.0, drawing.boxes[at].title
        upwards = [(a, b) for a, b in drawing.arrows if boxes[a].y >= boxes[b].y]
        assert len(upwards) == (1 if drawing.title == "circle" else 0)


def circle() -> Drawing:
    """Return what must not be and still may be drawn: three boxes, each made of the one before."""
    boxes = [Box(name, "data", "dataset", 0) for name in "abc"]
    return Drawing("circle", boxes, [(0, 1), (1, 2), (2, 0)], [Lane("job", "curation", "", "")])


def crossing(count: int) -> Drawing:
    """Return twice so many boxes in each of two jobs, of which each is made of the one at the other side."""
    boxes = [Box(f"{lane} {at}", "data", "dataset", lane) for lane in (0, 1) for at in range(count)]
    lanes = [Lane(name, "curation", "", "") for name in "ab"]
    return Drawing("crossing", boxes, [(at, 2 * count - 1 - at) for at in range(count)], lanes)


def test_arrows_that_need_not_cross_do_not() -> None:
    drawing = crossing(9)
    placed = layout(drawing, [50.0] * 18)
    ends = sorted((placed.boxes[a].x, placed.boxes[b].x) for a, b in drawing.arrows)
    assert [b for _, b in ends] == sorted(b for _, b in ends)


HOSTILE = 'a"b</text><script>alert(1)</script>&amp;\\n\\ \x07 \ufffe]]> \u202e日本語 {|<>}'


def hostile() -> Drawing:
    box = Box(HOSTILE, "model", HOSTILE, 0, 3, {HOSTILE: HOSTILE}, HOSTILE, HOSTILE, start=True)
    return Drawing(HOSTILE, [box, box], [(0, 1)], [Lane(HOSTILE, HOSTILE, HOSTILE, HOSTILE)])


def test_no_name_breaks_the_svg() -> None:
    root = ElementTree.fromstring(as_svg(hostile()))
    assert {one.tag.removeprefix(SVG) for one in root.iter()} == {
        *("svg", "title", "defs", "marker", "path", "rect", "text", "g")
    }
    tips = [one.text or "" for one in root.iter(f"{SVG}title")]
    assert all("<script>alert(1)</script>&amp;" in tip for tip in tips)


def test_text_of_the_svg_fits_its_box() -> None:
    drawing = drawn(fixtures.jobs())
    for box in drawing.boxes:
        box.title, box.details = "/a/very/long/path/of/a/file/" + "w" * 60 + ".npz", {"x" * 80: "y" * 80}
    root = ElementTree.fromstring(as_svg(drawing))
    shown = [one.text or "" for one in root.iter(f"{SVG}text")]
    # The narrowest of letters in a usual font takes a quarter of its size.
    assert max(len(text) * 10 * 0.25 for text in shown if "…" in text) < WIDTH
    assert [text for text in shown if text.endswith(".npz")]


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not there: apt-get install graphviz")
@pytest.mark.parametrize("which", ["jobs", "chain", "hostile"])
def test_graphviz_reads_the_dot(which: str) -> None:
    drawing = {"jobs": lambda: drawn(fixtures.jobs()), "chain": lambda: drawn([chain(50)]), "hostile": hostile}[which]()
    done = subprocess.run(
        ["dot", "-Tplain"], input=as_dot(drawing), capture_output=True, text=True, timeout=60, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split()[0] for line in done.stdout.splitlines()]
    assert (lines.count("node"), lines.count("edge")) == (len(drawing.boxes), len(drawing.arrows))


def test_a_picture_is_the_same_each_time() -> None:
    assert as_svg(drawn(fixtures.jobs())) == as_svg(drawn(list(reversed(fixtures.jobs()))))


def test_two_jobs_of_one_phase_stand_beside_each_other() -> None:
    graphs = []
    for name in ("north", "south"):
        job = Builder(f"curate-{name}", "curation", MONDAY)
        step = job.activity("DataTransformationExecution", "clean", 1, 50)
        job.use(step, job.data("Dataset", f"/raw/{name}.segy", f"raw {name}"), 2)
        job.generate(job.data("Dataset", f"/clean/{name}.npy", f"clean {name}"), step, 40)
        graphs.append(job.graph())
    job = Builder("learn", "learning", MONDAY + DAY)
    training = job.activity("TrainingExecution", "training", 1, 50)
    for name in ("north", "south"):
        job.use(training, job.data("LearningDataset", f"/clean/{name}.npy", f"clean {name}"), 2)
    job.generate(job.data("Model", "/m/x.npz", "x"), training, 40)
    drawing = drawn([*graphs, job.graph()])
    placed = layout(drawing, [50.0] * len(drawing.boxes))
    by_name = {lane.name: place for lane, place in zip(drawing.lanes, placed.lanes, strict=True)}
    north, south, learn = by_name["curate-north"], by_name["curate-south"], by_name["learn"]
    assert north[1] == south[1] < learn[1]
    left, right = sorted((north, south))
    assert left[0] + left[2] < right[0]
    # Together they are as wide as the lane below.
    assert (left[0], right[0] + right[2]) == pytest.approx((learn[0], learn[0] + learn[2]))


@pytest.mark.parametrize(
    "words",
    [
        ["compare-trainings", "--format", "svg"],
        ["--sparql", "ASK {}", "--format", "dot"],
        ["--list", "--format", "svg"],
    ],
)
def test_other_questions_have_no_picture(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", *([] if words[0] == "--list" else [str(tmp_path / "x.h5")]), *words]) == 2
    assert "picture" in capsys.readouterr().err
