"""A stand-in for NVIDIA's library, built from C where there is a compiler. It plays GPUs and measures nothing."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("nvml.c")


@cache
def folder() -> Path:
    """Return a folder with the stand-in as ``libnvidia-ml.so.1``, for LD_LIBRARY_PATH; skip the test without gcc."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("the stand-in for NVML is built with gcc: apt-get install gcc libc6-dev")
    made = tempfile.TemporaryDirectory(prefix="provml-standin-")
    atexit.register(made.cleanup)
    place = Path(made.name)
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", place / "libnvidia-ml.so.1", _SOURCE]
    subprocess.run(command, check=True, timeout=60)
    return place


def environment(plays: str = "", extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables under which a process meets the stand-in; `plays` says what it does (see ``nvml.c``)."""
    path = os.pathsep.join(filter(None, [str(folder()), os.environ.get("LD_LIBRARY_PATH", "")]))
    # What the machine of the test says of GPUs is not what the stand-in has.
    names = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
    return {"LD_LIBRARY_PATH": path, "STANDIN_NVML": plays, **dict.fromkeys(names, ""), **dict(extra or {})}
