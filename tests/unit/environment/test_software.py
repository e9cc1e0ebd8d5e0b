"""Modules, containers, accelerators and networks, from what they leave in variables and files."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from provml_hpc.environment import accelerators, host, scheduler, software

IMAGE = "docker://registry.example.org/torch:2.4"


@pytest.mark.parametrize(
    ("environ", "files", "expected"),
    [
        ({}, {}, {}),
        (
            {"APPTAINER_CONTAINER": "/images/t.sif"},
            {},
            {"container_runtime": "apptainer", "container": "/images/t.sif"},
        ),
        ({"SINGULARITY_NAME": "t.sif"}, {}, {"container_runtime": "singularity", "container": "t.sif"}),
        ({"SHIFTER_IMAGEREQUEST": "t:1"}, {}, {"container_runtime": "shifter", "container": "t:1"}),
        ({"ENROOT_ROOTFS": "/e/t"}, {}, {"container_runtime": "enroot", "container": "/e/t"}),
        ({"CH_RUNNING": "Weird Al"}, {}, {"container_runtime": "charliecloud"}),
        (
            {},
            {"run/.containerenv": f'engine="podman-4"\nimage="{IMAGE}"\n'},
            {"container_runtime": "podman", "container": IMAGE},
        ),
        ({}, {"run/.containerenv": ""}, {"container_runtime": "podman"}),
        ({}, {".dockerenv": ""}, {"container_runtime": "docker"}),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {}, {"container_runtime": "kubernetes"}),
        ({"LOADEDMODULES": "gcc/12:cuda/12.4"}, {}, {"modules": "gcc/12:cuda/12.4"}),
    ],
)
def test_modules_and_containers(
    tmp_path: Path, environ: dict[str, str], files: dict[str, str], expected: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {fact.name.removeprefix("software."): fact.value for fact in software.software_facts(environ, tmp_path)}
    assert found == expected


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build",
    ],
)
def test_the_driver_is_told_by_the_kernel(tmp_path: Path, line: str) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(f"{line}\nGCC version:  gcc version 12.2.0\n")
    (tmp_path / "opt/rocm/.info").mkdir(parents=True)
    (tmp_path / "opt/rocm/.info/version").write_text("6.1.0-82\n")
    found = {fact.name: fact.value for fact in accelerators.driver_facts(tmp_path)}
    assert found == {"nvidia.kernel_driver": "550.54.15", "rocm.version": "6.1.0-82"}
    assert accelerators.driver_facts(tmp_path / "none") == []


def test_loaded_libraries_are_asked_and_named(tmp_path: Path) -> None:
    source = tmp_path / "nccl.c"
    source.write_text("int ncclGetVersion(int *v) { *v = 22005; return 0; }")
    nccl = tmp_path / "libnccl.so.2"
    built = ["gcc", "-shared", "-fPIC", "-o", str(nccl), str(source)]
    try:
        subprocess.run(built, check=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("a library is built with gcc: apt-get install gcc libc6-dev")
    cudart = tmp_path / "libcudart.so.12.4.127"
    cudart.touch()
    maps = "".join(f"7f00-7f01 r-xp 00000000 08:01 1   {path}\n" for path in (nccl, cudart))
    # Not loaded by this process: its name alone is believed, and this one has no version in it.
    assert [tuple(fact)[:2] for fact in _only(accelerators.library_facts(maps))] == [("cuda.runtime", "12.4.127")]
    ctypes.CDLL(str(nccl))
    found = {fact.name: fact.value for fact in _only(accelerators.library_facts(maps))}
    assert found == {"cuda.runtime": "12.4.127", "nccl.version": "2.20.5"}


def _only(facts: list) -> list:  # type: ignore[type-arg]
    return [fact for fact in facts if not fact.name.startswith("torch.")]


def test_pytorch_is_read_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    text = "__version__ = '2.4.0'\ndebug = False\ncuda: Optional[str] = '12.4'\ngit_version = 'abc'\nhip = None\n"
    (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = {fact.name: fact.value for fact in accelerators.library_facts("")}
    assert found == {"torch.cuda": "12.4", "torch.git_version": "abc"}


def test_fast_networks_are_named_with_their_rates(tmp_path: Path) -> None:
    port = tmp_path / "infiniband" / "mlx5_0" / "ports" / "1"
    port.mkdir(parents=True)
    (port / "link_layer").write_text("InfiniBand\n")
    (port / "rate").write_text("200 Gb/sec (4X HDR)\n")
    (tmp_path / "cxi" / "cxi0").mkdir(parents=True)
    assert host._networks(tmp_path) == "mlx5_0 InfiniBand 200 Gb/sec (4X HDR), cxi0 Slingshot"
    assert host._networks(tmp_path / "none") == ""


def test_the_limits_of_a_job() -> None:
    environ = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "n1",
        "SLURM_JOB_START_TIME": "1700000000",
        "SLURM_JOB_END_TIME": "1700003600",
        "SLURM_MEM_PER_CPU": "2048",
        "SLURM_MEM_PER_GPU": "1024",
        "SLURM_MEM_PER_NODE": "0",
        "SLURM_GPUS": "8",
        "SLURM_TASKS_PER_NODE": "4(x2)",
        "SLURM_ARRAY_TASK_COUNT": "10",
    }
    found = {fact.name.removeprefix("scheduler."): fact.value for fact in scheduler.job_facts(environ, "n1")}
    expected = {
        "time_limit_s": 3600,
        "memory_per_cpu": 2048 << 20,
        "memory_per_gpu": 1024 << 20,
        "gpus": 8,
        "tasks_per_node": "4(x2)",
        "array_size": 10,
    }
    assert expected.items() <= found.items()
    assert "memory_per_node" not in found
