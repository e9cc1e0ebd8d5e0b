"""Data and models: who made what, which bytes they had, and the traps where provenance goes wrong."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.capture import digests
from tests.unit.capture.files import sha, write
from tests.unit.capture.jobs import capture


def test_a_file_that_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.csv", "raw")
    with capture(tmp_path) as job:
        data = job.run.use_dataset(
            path, role="training", select="rows 0-9", characteristics={"samples": 10, "x": {"a": 1}}
        )
        again = job.run.use_dataset(str(path), label="the raw file")
        assert (data.path, data.label) == (str(path), str(path))
        with job.run.training(use=[data]) as training:
            training.use({"test": [path, again]})
    file = job.file
    selected, whole = file.one("LearningDataset", select="rows 0-9"), file.one("LearningDataset", select="")
    assert file.content(selected) == file.content(whole) == [sha("raw")]
    assert (whole["digest_state"], whole["size"], whole["path"]) == ("whole", 3, str(path))
    assert whole["modified_ns"] == path.stat().st_mtime_ns
    assert {row["label"]: row["value"] for row in file.objects("hasQuality", selected)} == {"samples": "10", "x.a": "1"}
    run, training_row = file.one("LearningExperimentExecution"), file.one("TrainingExecution")
    used = {
        (row["subject"]["id"], row["object"]["id"], row["role"])
        for row in file.relations("used")
        if row["object"]["cls"] == "LearningDataset"
    }
    assert used == {
        (run["id"], selected["id"], "training"),
        (run["id"], whole["id"], ""),
        (training_row["id"], selected["id"], ""),
        (training_row["id"], whole["id"], "test"),
    }
    # ML-Schema says it of the stage, not of the experiment.
    assert {(r["subject"]["id"], r["object"]["id"]) for r in file.relations("hasInput")} == {
        (training_row["id"], selected["id"]),
        (training_row["id"], whole["id"]),
    }
    (reference,) = [row for row in file.objects("specializationOf", whole) if row["cls"] == "DataReference"]
    assert reference["identifier"] == str(path)
    assert len(file.objects("atLocation", reference)) == 1
    assert not file.relations("wasGeneratedBy")


@pytest.mark.parametrize(
    ("phase", "read", "made"),
    [
        ("curation", "Dataset", "Dataset"),
        ("preparation", "Dataset", "LearningDataset"),
        ("learning", "LearningDataset", "LearningDataset"),
    ],
)
def test_the_classes_of_a_phase(tmp_path: Path, phase: str, read: str, made: str) -> None:
    with capture(tmp_path, phase=phase) as job:
        raw = job.run.use_dataset(write(tmp_path / "in", "in"))
        with job.run.activity("clean", use=raw) as clean:
            out = clean.generate_dataset(write(tmp_path / "out", "out"), derived_from=raw)
        with job.run.feature_extraction(use=[out]) as extraction:
            extraction.generate_features(write(tmp_path / "features", "f"), derived_from=[out])
        job.run.log_params({"a": 1})
    file = job.file
    assert [
        file.by_id[file.one(cls, label=str(tmp_path / name))["id"]]["cls"]
        for cls, name in (("Dataset", "in"), ("Dataset", "out"))
    ] == [read, made]
    features = file.one("FeatureSetData")
    assert [row["cls"] for row in file.objects("wasGeneratedBy", features)] == ["FeatureExtractionExecution"]
    assert file.pairs("wasDerivedFrom") == {
        (str(tmp_path / "out"), str(tmp_path / "in")),
        (str(tmp_path / "features"), str(tmp_path / "out")),
    }
    assert bool(file.all("LearningHyperparameterValue")) is (phase == "learning")
    assert file.one("WorkflowExecution")["phase"] == phase


def test_a_generated_file_is_digested_when_its_activity_ends(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        with job.run.activity("late") as work:
            made = work.generate_dataset(tmp_path / "late.bin")
            write(tmp_path / "late.bin", "written after it was declared")
        job.run.use(made)
        with job.run.activity("never") as work:
            work.generate_dataset(tmp_path / "never.bin")
        with job.run.training() as training:
            for epoch in training.sections("epoch", 2):
                model = training.log_model(tmp_path / f"m{epoch.index}", step=epoch.index)
                write(tmp_path / f"m{epoch.index}", f"model {epoch.index}")
            assert isinstance(model, provml.Entity)
    file = job.file
    late = file.one("LearningDataset", path=str(tmp_path / "late.bin"))
    assert file.content(late) == [sha("written after it was declared")]
    assert (late["digest_state"], late["size"]) == ("whole", 29)
    never = file.one("LearningDataset", path=str(tmp_path / "never.bin"))
    assert (never["digest_state"], file.content(never)) == ("missing", [])
    for row in file.all("Model"):
        assert file.content(row) == [sha(f"model {row['step']}")]
        (epoch_row,) = file.objects("wasGeneratedBy", row)
        assert epoch_row["section_index"] == row["step"]
    assert file.pairs("wasRevisionOf") == {(str(tmp_path / "m1"), str(tmp_path / "m0"))}


def test_given_digests_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digest_file = digests.digest_file
    monkeypatch.setattr(digests, "digest_file", lambda path, **how: read.append(str(path)) or digest_file(path, **how))
    given = "sha256:" + "ab" * 32
    with capture(tmp_path) as job:
        run = job.run
        run.use_dataset(write(tmp_path / "given", "given"), digest=given)
        run.use_dataset(write(tmp_path / "none", "none"), digest=False)
        run.use_dataset(write(tmp_path / "all", "all"), digest=True)
        run.use_dataset("s3://bucket/key", digest="md5:" + "cd" * 16)
        run.reference("postgresql://wells", "table")
        with run.training() as training:
            training.log_model(write(tmp_path / "model given", "x"), digest=given)
            training.log_model(write(tmp_path / "model none", "y"), digest=False, derived_from=[])
            training.log_model(write(tmp_path / "model all", "z"), digest=True)
    file = job.file
    found = {
        Path(row["label"]).name: (row["digest_state"], file.content(row))
        for row in [*file.all("Dataset"), *file.all("Model")]
    }
    assert found == {
        "given": ("given", ["ab" * 32]),
        "none": ("", []),
        "all": ("whole", [sha("all")]),
        "key": ("given", ["cd" * 16]),
        "table": ("", []),
        "model given": ("given", ["ab" * 32]),
        "model none": ("", []),
        "model all": ("whole", [sha("z")]),
    }
    assert read == [str(tmp_path / "all"), str(tmp_path / "model all")]


def test_large_files_get_a_fingerprint_unless_all_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVML_FULL_DIGEST_LIMIT", "4 MiB")
    large = tmp_path / "large"
    large.write_bytes(bytes(5 << 20))
    other = tmp_path / "other"
    other.write_bytes(bytes(5 << 20))
    with capture(tmp_path) as job:
        job.run.use_dataset(large)
        job.run.use_dataset(other, digest=True)
    file = job.file
    states = {Path(row["path"]).name: row for row in file.all("LearningDataset")}
    assert {name: row["digest_state"] for name, row in states.items()} == {"large": "sampled", "other": "whole"}
    kinds = {row["digest"]: row["algorithm"] for row in file.all("Content")}
    assert [kinds[file.content(states[name])[0]] for name in ("large", "other")] == ["provml-sample-1", "sha256"]


def test_directories_have_members(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("a", "b/c", "b/d"):
        write(folder / name, name)
    with capture(tmp_path) as job:
        before = job.run.use_dataset(folder)
        assert job.run._session.digester.wait(60)
        write(folder / "b/c", "changed")
        job.run.use_dataset(folder)
        job.run.use_dataset(write(tmp_path / "alone", "a"))
        with job.run.activity("copy", use=before) as work:
            shutil.copytree(folder, tmp_path / "copy")
            work.generate_dataset(tmp_path / "copy", derived_from=before)
    file = job.file
    members = {
        (Path(row["subject"]["path"]).name, row["object"]["label"]): file.content(row["object"])
        for row in file.relations("hadMember")
        if row["subject"]["path"] == str(tmp_path / "copy")
    }
    assert members == {
        ("copy", "a"): [sha("a")],
        ("copy", "b/c"): [sha("changed")],
        ("copy", "b/d"): [sha("b/d")],
    }
    wholes = [row for row in file.all("LearningDataset", path=str(folder)) if file.objects("hadMember", row)]
    assert len(wholes) == 2
    trees = {row["id"]: file.content(row)[0] for row in wholes}
    (copy,) = file.all("LearningDataset", path=str(tmp_path / "copy"))
    assert len(set(trees.values())) == 2
    assert file.content(copy)[0] in trees.values()
    # A member meets the same bytes elsewhere; one that stayed as it was is one version in both states of the folder.
    (alone,) = file.all("LearningDataset", path=str(tmp_path / "alone"))
    (content,) = [row for row in file.objects("specializationOf", alone) if row["cls"] == "Content"]
    assert len(file.subjects("specializationOf", content)) == 3


def test_shards_of_one_dataset(tmp_path: Path) -> None:
    with capture(tmp_path, phase="preparation") as job:
        for number in range(3):
            with job.run.activity("write", key=number) as work:
                path = write(tmp_path / "set" / f"{number}.bin", str(number))
                work.generate_dataset(path, member_of=tmp_path / "set")
        with job.run.activity("named") as work:
            whole = job.run.reference("store", "collection")
            work.generate_dataset(write(tmp_path / "loose", "loose"), member_of=whole)
            work.generate_dataset(write(tmp_path / "more", "more"), member_of="a name")
        with job.run.activity("read", use=[tmp_path / "set"]):
            pass
    file = job.file
    (collection,) = {
        row["subject"]["id"] for row in file.relations("hadMember") if row["subject"]["label"].endswith("set")
    }
    assert [row["label"] for row in file.objects("hadMember", file.by_id[collection])] == [
        str(tmp_path / "set" / f"{number}.bin") for number in range(3)
    ]
    assert file.objects("wasGeneratedBy", file.by_id[collection]) == []
    assert ("collection", str(tmp_path / "loose")) in file.pairs("hadMember")
    assert [b for a, b in file.pairs("hadMember") if Path(a).name == "a name"] == [str(tmp_path / "more")]
    reads = [row["object"]["id"] for row in file.relations("used") if row["subject"]["label"] == "read"]
    assert reads == [collection]


def test_data_that_is_no_file(tmp_path: Path) -> None:
    with capture(tmp_path) as job:
        job.run.use_dataset("https://me:secret@example.org:8080/data/a.csv?x=1", role="web")
        job.run.use_dataset("s3://bucket/key")
        table = job.run.reference("postgresql://db/wells", "logs.public", label="well logs")
        job.run.use(table)
        job.run.use_dataset(table, role="again", characteristics={"rows": 5})
        array = job.run.use_dataset(np.arange(6.0).reshape(2, 3), label="in memory")
        job.run.use_dataset(np.arange(6.0).reshape(3, 2))
        job.run.use_dataset(np.arange(6.0).reshape(2, 3), label="in memory")
        with job.run.activity("make") as work:
            work.generate_dataset(np.ones(3), label="made in memory", derived_from=[array, table])
            work.generate_dataset(table)
            work.generate_dataset("s3://bucket/new", derived_from="s3://bucket/key")
            work.log_model(job.run.reference("mlflow://registry", "unet/3", label="unet"))
        job.run.use_dataset("file:///etc/hostname")
    file = job.file
    stores = {row["label"] for row in file.all("DataStore")}
    assert {"https://example.org:8080", "s3://bucket", "postgresql://db/wells"} <= stores
    assert not any("secret" in str(value) for row in file.by_id.values() for value in row.values())
    (reference,) = file.all("DataReference", identifier="logs.public")
    assert [row["label"] for row in file.objects("atLocation", reference)] == ["postgresql://db/wells"]
    arrays = file.all("LearningDataset", label="in memory")
    assert len(arrays) == 1
    assert len(file.content(arrays[0])) == 1
    assert file.content(arrays[0]) != file.content(file.one("LearningDataset", label="array[3, 2]"))
    assert file.pairs("wasDerivedFrom") == {
        ("made in memory", "in memory"),
        ("made in memory", "well logs"),
        ("s3://bucket/new", "s3://bucket/key"),
    }
    assert file.one("LearningDataset", path="/etc/hostname")["digest_state"] == "whole"
    assert file.one("Model")["label"] == "unet"


def test_names_of_files_come_back(tmp_path: Path) -> None:
    names = [
        "q\"uo'te",
        "new\nline",
        "<a> .",
        "back\\slash",
        "ünï 漢 🚀",
        "\x01\x1b",
        " blank ",
        "x" * 200,
        b"\xff\xfe".decode(errors="surrogateescape"),
    ]
    with capture(tmp_path) as job:
        for name in names:
            write(tmp_path / "in" / name, name.encode(errors="surrogateescape").hex())
            job.run.use_dataset(tmp_path / "in" / name)
            with job.run.activity(name.encode(errors="replace").decode()) as work:
                work.generate_dataset(write(tmp_path / "out" / name, f"out {names.index(name)}"))
        job.run.use_dataset(tmp_path / "in")
    file = job.file
    for at, name in enumerate(names):
        shown = name if at < 8 else "\\udcff\\udcfe"
        read = file.one("LearningDataset", path=str(tmp_path / "in" / shown), label=str(tmp_path / "in" / shown))
        made = file.one("LearningDataset", path=str(tmp_path / "out" / shown))
        if at < 8:
            assert file.content(read) == [sha(name.encode().hex())]
            assert file.content(made) == [sha(f"out {at}")]
    # The members of the folder are the files that were named before.
    inside = {row["object"]["path"].removeprefix(f"{tmp_path}/in/") for row in file.relations("hadMember")}
    assert inside == {*names[:8], "\\udcff\\udcfe"}
    assert len(file.all("LearningDataset")) == 2 * len(names) + 1


def test_a_file_that_changes_while_it_is_read_is_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "data", "before")
    digest_file = digests.digest_file

    def disturbed(name: Any, **how: Any) -> Any:
        write(path, "after!")
        return digest_file(name, **how)

    monkeypatch.setattr(digests, "digest_file", disturbed)
    with capture(tmp_path) as job:
        job.run.use_dataset(path)
    file = job.file
    assert file.one("LearningDataset")["digest_state"] == "changed"
    assert file.all("Content") == []


def test_a_directory_that_changes_before_it_is_read_is_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "folder/a", "before")
    with capture(tmp_path) as job:
        hasher = job.run._session.digester._hasher
        submit = hasher.submit
        monkeypatch.setattr(
            hasher, "submit", lambda key, whole=False: write(tmp_path / "folder/a", "after!") and submit(key, whole)
        )
        job.run.use_dataset(tmp_path / "folder")
    file = job.file
    assert file.one("LearningDataset")["digest_state"] == "changed"
    assert file.all("Content") == []


def test_what_is_missing_is_recorded_without_content(tmp_path: Path) -> None:
    with capture(tmp_path, warn=True) as job:
        job.run.use_dataset(tmp_path / "missing", role="training")
        job.run.use(tmp_path / "gone")
    assert len(job.warned) == 1
    row = job.file.one("LearningDataset", path=str(tmp_path / "missing"))
    assert (row["digest_state"], job.file.content(row)) == ("missing", [])


def test_an_entity_of_another_run(tmp_path: Path) -> None:
    path = write(tmp_path / "data", "shared")
    with capture(tmp_path, output=tmp_path / "one.h5") as one:
        data = one.run.use_dataset(path)
        array = one.run.use_dataset(np.zeros(2))
    with capture(tmp_path, output=tmp_path / "two.h5", warn=True) as two:
        two.run.use(data)
        two.run.use(array)
    assert ["belongs to another run" in told for told in two.warned] == [True]
    assert [file.content(file.one("LearningDataset", path=str(path))) for file in (one.file, two.file)] == [
        [sha("shared")]
    ] * 2
    assert one.file.one("Content", digest=sha("shared"))["uuid"] == two.file.one("Content")["uuid"]


@pytest.mark.parametrize("seed", range(16))
def test_any_order_of_calls_gives_a_sound_graph(tmp_path: Path, seed: int) -> None:
    """Files come, change and go while activities overlap: whatever is said of them, no rule of PROV is broken."""
    rng = random.Random(seed)
    paths = [tmp_path / name for name in "abcd"]
    handles: list[Any] = []

    def some(most: int) -> list[Any]:
        return [rng.choice([*paths, *handles[-6:]]) for _ in range(rng.randrange(most))]

    with capture(tmp_path, phase=rng.choice(["learning", "curation", "preparation"]), warn=True) as job:
        stack: list[Any] = [job.run]
        for _ in range(60):
            on, path, thing = rng.choice(stack), rng.choice(paths), rng.choice([*paths, *handles[-6:]])
            match rng.randrange(14):
                case 0:
                    stack.append(on.activity("w", use=some(3)))
                case 1:
                    stack.append(on.training(use=some(3)))
                case 2:
                    stack.append(on.section(rng.choice(["epoch", "fold"]), rng.randrange(3)))
                case 3 if len(stack) > 1:
                    stack.pop(rng.randrange(1, len(stack)))._end("completed")
                case 4 | 5:
                    write(path, rng.choice(["A", "B", "", "C" * 10]))
                case 6:
                    handles.append(on.use_dataset(thing))
                case 7:
                    handles.append(on.use_model(thing))
                case 8:
                    whole = rng.choice([None, tmp_path / "set", *handles[-2:]])
                    handles.append(on.generate_dataset(thing, derived_from=some(3), member_of=whole))
                case 9:
                    handles.append(on.log_model(thing, derived_from=some(2), step=rng.choice([None, 1, 2])))
                case 10:
                    on.use(thing)
                case 11:
                    on.evaluate(acc=0.5, on=rng.choice([None, thing]), model=rng.choice([None, thing]))
                case 12 if path.exists() and path != paths[0]:
                    shutil.copy2(path, paths[0])
                case 13:
                    path.unlink(missing_ok=True)
    file = job.file
    assert file.run.status == "finished"
    # What was read is as it was at that moment, or it is said that nobody knows.
    for row in [*file.all("Dataset"), *file.all("Model")]:
        if row["digest_state"] == "whole" and row["size"] and not file.objects("hadMember", row):
            assert file.content(row) in [[sha(text)] for text in ("A", "B", "C" * 10)]
