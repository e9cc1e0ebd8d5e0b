"""Jobs of one process on a STAND-IN for NVIDIA's library (see tests/standin): no GPU is measured here.

The bindings are the real ones, so what is tested is all but the driver itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.storage.recover import recover
from provml_hpc.storage.tables import TablesFile
from provml_tools.query import Engine, ask
from provml_tools.validate import validate
from tests import standin
from tests.mpi import launch

pytest.importorskip("pynvml", reason="the real bindings are needed: pip install 'provml-hpc[telemetry]'")
pytest.importorskip("psutil", reason="pip install 'provml-hpc[telemetry]'")


def job(folder: Path, plays: str, *, env: dict[str, str] | None = None, **options: Any) -> launch.Result:
    """Run a training, where a warning is an error, and return how it ended."""
    return launch.mpi_run(
        "telemetry.py",
        None,
        [folder / "job.h5", json.dumps(options)],
        cwd=folder,
        env=standin.environment(plays, env),
        python=("-W", "error"),
    )


def told(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "told.0").read_text()))


def facts(file: Any, of: str | None = None) -> dict[str, Any]:
    """Return what was found out, of all or of one device."""
    devices = {row.id: row.label for row in file.nodes("Device")}
    rows = [row for row in file.attributes if of is None or devices.get(row.of) == of]
    return {row.name: row.value for row in rows}


def test_energy_and_hours_of_the_device_that_a_rank_was_given(tmp_path: Path) -> None:
    job(tmp_path, "devices=2", env={"CUDA_VISIBLE_DEVICES": "GPU-standin-n0-1"}).check()
    with provml.open(tmp_path / "job.h5") as file:
        assert file.status == "finished"
        assert [row.label for row in file.nodes("Device")] == ["n0 gpu0", "n0 gpu1"]
        counters = file.counters["n0 gpu1"]
        assert counters == {
            "utilisation_percent": "%", "memory_utilisation_percent": "%", "memory_used_B": "B", "power_W": "W",
            "energy_J": "J", "temperature_C": "Cel", "sm_clock_MHz": "MHz", "memory_clock_MHz": "MHz",
            "throttle_reasons": "bits", "pcie_sent_B": "B", "pcie_received_B": "B", "pcie_replays": "1",
            "nvlink_sent_B": "B", "nvlink_received_B": "B",
        }  # fmt: skip
        for counter, value in (
            ("power_W", 200),
            ("utilisation_percent", 91),
            ("temperature_C", 51),
            ("pcie_replays", 3),
        ):
            assert set(file.telemetry(counter, "n0 gpu1")["value"].tolist()) == {value}
        assert {"cpu_percent", "memory_used_B"} <= set(file.counters["n0"])
        assert (file.telemetry("memory_rss_B", "rank 0")["value"] > 1 << 20).all()
        # Turns are counted, so that a gap would show, and go on to the end of the run.
        power = file.telemetry("power_W", "n0 gpu1")
        assert power["turn"].tolist() == list(range(len(power)))
        assert len(power) >= 4
        (training,) = [row for row in file.activities if row.kind == "TrainingExecution"]
        assert power["time_ns"][-1] > training.end_ns
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        assert training.devices == ["n0 gpu1"]
        assert training.gpu_s == pytest.approx(training.wall_s)
        # The stand-in takes 200 W, always.
        assert training.energy_J == pytest.approx(200 * training.gpu_s * training.measured, rel=0.25)
        assert training.energy_from == "counter"
        assert facts(file, "n0 gpu1") == {
            "memory.total_B": 80 << 30, "pci.bus_id": "00000000:02:00.0", "power.limit_W": 700.0,
        }  # fmt: skip
        assert file.measures == ["loss"]
        answer = ask(Engine([file.graph]), "cost", {"measure": "accuracy"})
        (row,) = answer.rows
        assert row["accuracy"] == 0.75
        assert row["GPU hours"] == pytest.approx(training.gpu_s / 3600)
        assert row["energy Wh"] == pytest.approx(training.energy_J / 3600)
        assert row["devices"] == "n0 gpu1"
    assert validate(tmp_path / "job.h5").findings == []
    assert told(tmp_path)["threads"] == ["MainThread", "provml-telemetry"]
    assert not list(tmp_path.glob(".job.h5*"))


def test_counters_that_are_missing_are_facts_and_power_stands_in_for_energy(tmp_path: Path) -> None:
    plays = "devices=1 missing=energy,nvlink,fields,throttle"
    job(tmp_path, plays, env={"CUDA_VISIBLE_DEVICES": "0"}).check()
    with provml.open(tmp_path / "job.h5") as file:
        assert file.status == "finished"
        missing = str(facts(file, "n0 gpu0")["counters.missing"]).split(", ")
        assert missing == ["energy_J", "throttle_reasons", "nvlink_sent_B", "nvlink_received_B"]
        assert not set(missing) & set(file.counters["n0 gpu0"])
        # Where there is no counter of bytes, the driver measures for a while.
        assert set(file.telemetry("pcie_sent_B_per_s")["value"].tolist()) == {1_000_000}
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        assert training.energy_from == "power"
        assert training.energy_J == pytest.approx(100 * training.gpu_s * training.measured, rel=0.25)
        notes = ask(Engine([file.graph]), "cost").notes
        assert any("power integrated over time" in note for note in notes)
    assert validate(tmp_path / "job.h5").findings == []


def test_a_gpu_that_is_lost_is_a_fact_and_the_others_go_on(tmp_path: Path) -> None:
    job(tmp_path, "devices=2 lost=0@60", env={"CUDA_VISIBLE_DEVICES": "0,1"}).check()
    with provml.open(tmp_path / "job.h5") as file:
        assert file.status == "finished"
        lost, well = file.telemetry("power_W", "n0 gpu0"), file.telemetry("power_W", "n0 gpu1")
        assert 1 <= len(lost) < len(well)
        told = facts(file, "n0 gpu0")
        assert "GPU is lost" in told["lost"]
        assert lost["time_ns"][-1] < told["lost.time_ns"] < well["time_ns"][-1]
        assert "lost" not in facts(file, "n0 gpu1")
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        # Its hours are those that it was given for; its energy is known up to the loss.
        assert training.gpu_s == pytest.approx(2 * training.wall_s)
        assert training.measured < 1


def test_a_gpu_that_says_nothing_any_more_is_given_up_with_a_reason(tmp_path: Path) -> None:
    job(tmp_path, "devices=1 silent=0@40", turns=8).check()
    with provml.open(tmp_path / "job.h5") as file:
        assert "no counter answered" in facts(file, "n0 gpu0")["lost"]
        values = file.telemetry("power_W")["value"]
        assert np.isnan(values).any()
        assert not np.isnan(values[0])


def test_slices_of_a_gpu_are_devices_and_their_energy_is_unknown(tmp_path: Path) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "MIG-standin-n0-0-1"}
    job(tmp_path, "devices=1 mig=2", env=env).check()
    with provml.open(tmp_path / "job.h5") as file:
        labels = {row.id: row.label for row in file.nodes("Device")}
        assert list(labels.values()) == ["n0 gpu0", "n0 gpu0 mig0", "n0 gpu0 mig1"]
        parts = {
            labels[row.subject]: labels.get(row.object) for row in file.relations("isPartOf") if row.subject in labels
        }
        assert parts == {"n0 gpu0": None, "n0 gpu0 mig0": "n0 gpu0", "n0 gpu0 mig1": "n0 gpu0"}
        assert list(file.counters["n0 gpu0 mig1"]) == ["memory_used_B"]
        assert "energy_J" in facts(file, "n0 gpu0 mig1")["counters.missing"]
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        assert training.devices == ["n0 gpu0 mig1"]
        assert training.gpu_s == pytest.approx(training.wall_s)
        assert training.energy_J is None
        answer = ask(Engine([file.graph]), "cost")
        assert any("MIG" in note for note in answer.notes)
        assert any("energy of 1 more is unknown" in note for note in answer.notes)
    assert validate(tmp_path / "job.h5").findings == []


def test_a_call_of_the_driver_that_hangs_does_not_hang_the_job(tmp_path: Path) -> None:
    result = launch.mpi_run(
        "telemetry.py", None, [tmp_path / "job.h5", "{}"], cwd=tmp_path, timeout=20,
        env=standin.environment("devices=1 hang=60"), python=("-W", "error"),
    )  # fmt: skip
    result.check()
    with provml.open(tmp_path / "job.h5") as file:
        assert file.status == "finished"
        assert "did not return" in facts(file)["telemetry.reason"]
        assert len(file.telemetry("power_W")) >= 1
    assert not list(tmp_path.glob(".job.h5*"))


def test_a_library_that_does_not_start_is_a_fact_and_the_node_is_sampled(tmp_path: Path) -> None:
    job(tmp_path, "init=9").check()
    with provml.open(tmp_path / "job.h5") as file:
        assert "NVMLError" in facts(file)["telemetry.gpu.reason"]
        assert "cpu_percent" in file.counters["n0"]
        assert len(file.nodes("Device")) == 0
        (row,) = ask(Engine([file.graph]), "cost").rows
        assert row["GPU hours"] is None
        assert row["wall s"] > 0


def test_off_means_no_thread_no_journal_and_nothing_in_the_file(tmp_path: Path) -> None:
    job(tmp_path, "devices=2", hz=0).check()
    assert {*told(tmp_path)["threads"]} <= {"MainThread", "provml-facts"}  # the facts of a run take a second or two
    with TablesFile(tmp_path / "job.h5") as tables:
        assert "telemetry" not in tables.file
        assert set(tables.file["frames"]["extents"]["lane"].tolist()) <= {0, 1}
    with provml.open(tmp_path / "job.h5") as file:
        assert not [name for name in facts(file) if name.startswith("telemetry")]


@pytest.mark.parametrize("flush", [True, False])
def test_what_was_sampled_outlives_a_kill(tmp_path: Path, flush: bool) -> None:
    result = job(tmp_path, "devices=1", end="kill", flush=flush, env={"CUDA_VISIBLE_DEVICES": "0"})
    assert result.returncode == -9
    assert list(tmp_path.glob(".job.h5*/*-l2-*.journal"))
    recover(tmp_path / "job.h5")
    with provml.open(tmp_path / "job.h5") as file:
        power = file.telemetry("power_W")
        assert power["turn"].tolist() == list(range(len(power)))
        assert len(power) >= 3
        (training,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        assert training.devices == ["n0 gpu0"]
        assert training.energy_J == pytest.approx(100 * training.gpu_s * training.measured, rel=0.25)
        (row,) = ask(Engine([file.graph]), "cost").rows
        assert row["energy Wh"] == pytest.approx(training.energy_J / 3600)
    assert validate(tmp_path / "job.h5").findings == []


def test_a_forked_child_samples_nothing_and_ends(tmp_path: Path) -> None:
    job(tmp_path, "devices=1", fork=True).check()
    assert told(tmp_path)["child"] == '["MainThread"] 0'
    with provml.open(tmp_path / "job.h5") as file:
        assert file.status == "finished"
        power = file.telemetry("power_W")
        assert power["turn"].tolist() == list(range(len(power)))


def test_a_job_that_fails_has_its_telemetry_too(tmp_path: Path) -> None:
    assert job(tmp_path, "devices=1", end="raise").returncode == 1
    with provml.open(tmp_path / "job.h5") as file:
        assert file.status == "failed"
        assert len(file.telemetry("power_W")) >= 3


def test_a_run_that_goes_on_keeps_the_telemetry_of_its_first_attempt(tmp_path: Path) -> None:
    for attempt, if_exists in (("one", "error"), ("two", "resume")):
        env = {"CUDA_VISIBLE_DEVICES": "0"}
        job(tmp_path, "devices=1", key=attempt, if_exists=if_exists, turns=2, env=env).check()
        if attempt == "one":
            with provml.open(tmp_path / "job.h5") as file:
                first = file.telemetry("power_W")
                energy = [row.energy_J for row in file.costs() if row.kind == "TrainingExecution"]
    with provml.open(tmp_path / "job.h5") as file:
        both = file.telemetry("power_W")
        assert both[both["attempt"] == 1]["time_ns"].tolist() == first["time_ns"].tolist()
        assert (both["attempt"] == 2).sum() >= 2
        assert len(file.nodes("Device")) == 1
        costs = [row for row in file.costs() if row.kind == "TrainingExecution"]
        assert [row.energy_J for row in costs][:1] == pytest.approx(energy)
        assert all(row.energy_J > 0 for row in costs)
        assert len(costs) == 2
    assert validate(tmp_path / "job.h5").findings == []
