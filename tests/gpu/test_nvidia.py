"""On a machine with a GPU of NVIDIA's: what a run samples against what `nvidia-smi` says. Skipped everywhere else.

Run it with `make test-gpu`. The GPU should have nothing else to do meanwhile.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import provml_hpc as provml

pytest.importorskip("pynvml", reason="pip install 'provml-hpc[telemetry]'")
pytestmark = pytest.mark.skipif(
    shutil.which("nvidia-smi") is None,
    reason="there is no nvidia-smi, so no GPU of NVIDIA's: run `make test-gpu` on a machine that has one",
)
GIB = 1 << 30


def smi(*fields: str) -> list[dict[str, str]]:
    """Return fields of each GPU, as `nvidia-smi` tells them."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return [dict(zip(fields, line.split(", "), strict=True)) for line in lines]


@pytest.fixture
def context() -> Iterator[None]:
    """Compute on GPU 0: a context with a gibibyte, through the driver itself."""
    cuda = ctypes.CDLL("libcuda.so.1")
    device, made, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    for call in (
        lambda: cuda.cuInit(0),
        lambda: cuda.cuDeviceGet(ctypes.byref(device), 0),
        lambda: cuda.cuCtxCreate_v2(ctypes.byref(made), 0, device),
        lambda: cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(GIB)),
    ):
        error = call()
        assert error == 0, f"the CUDA driver says {error}"
    yield
    cuda.cuCtxDestroy_v2(made)


def test_what_is_sampled_is_what_nvidia_smi_says(tmp_path: Path, context: None) -> None:
    told = []
    with (
        provml.init("gpu", phase="learning", output=tmp_path / "gpu.h5", telemetry=10) as run,
        run.training("training") as training,
    ):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            told.append(smi("power.draw", "temperature.gpu", "clocks.sm", "memory.used"))
            time.sleep(0.5)
        training.evaluate(accuracy=1.0)
    fixed = smi("uuid", "name", "memory.total", "pci.bus_id")
    with provml.open(tmp_path / "gpu.h5") as file:
        assert file.status == "finished"
        devices = {row.identifier: row for row in file.nodes("Device") if row.identifier.startswith("GPU-")}
        assert list(devices) == [one["uuid"] for one in fixed]
        for at, one in enumerate(fixed):
            device = devices[one["uuid"]]
            assert device.model == one["name"]
            facts = {row.name: row.value for row in file.attributes if row.of == device.id}
            print(device.label, facts)
            assert facts["memory.total_B"] == pytest.approx(float(one["memory.total"]) * 2**20, rel=0.02)
            assert facts["pci.bus_id"].lower() == one["pci.bus_id"].lower()
            for counter, field, near in (
                ("power_W", "power.draw", {"rel": 0.25, "abs": 20}),
                ("temperature_C", "temperature.gpu", {"abs": 5}),
                ("sm_clock_MHz", "clocks.sm", {"rel": 0.25}),
            ):
                if counter not in file.counters[device.label]:
                    assert counter in facts["counters.missing"]
                    continue
                ours = float(np.nanmean(file.telemetry(counter, device.label)["value"]))
                theirs = float(np.mean([float(turn[at][field]) for turn in told]))
                print(device.label, counter, ours, theirs)
                assert ours == pytest.approx(theirs, **near)
        first = devices[fixed[0]["uuid"]]
        # The driver saw this process on GPU 0, with its gibibyte.
        assert any(row.object == first.id for row in file.relations("atLocation"))
        assert np.nanmax(file.telemetry("gpu_memory_B", "rank 0")["value"]) >= GIB
        (training_cost,) = [row for row in file.costs() if row.kind == "TrainingExecution"]
        print(training_cost)
        assert training_cost.devices == [first.label]
        assert training_cost.measured > 0.8
        power = float(np.mean([float(turn[0]["power.draw"]) for turn in told]))
        assert training_cost.energy_J == pytest.approx(power * training_cost.gpu_s, rel=0.25, abs=200)
