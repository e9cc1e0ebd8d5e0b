"""Versions of CUDA, NCCL, drivers and their kin, found without starting any of them.

No package is imported and no device is opened: a CUDA context costs seconds and memory, and a process that has one
cannot be forked safely. What the process has loaded already is asked by functions that need no context; else files say
it.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from provml_hpc.environment.facts import Fact
from provml_hpc.environment.yielding import give_way

_ROOT = Path("/")
_DRIVER = re.compile(r"(?:Kernel Module(?: for \S+)?|NVRM version:.*?)\s+(\d+\.[\d.]+)")
_BUILT = re.compile(r"^(cuda|hip|git_version)\b[^=\n]*=\s*['\"]([^'\"\n]+)['\"]", re.MULTILINE)
_NUMBERED = re.compile(r"\.so\.(\d+(?:\.\d+)+)$")
# Library, its name in facts, the function that tells its version as one number, and what that number is made of.
_LIBRARIES = (
    ("libcudart.so", "cuda.runtime", "cudaRuntimeGetVersion", (1000, 10)),
    ("libcuda.so", "cuda.supported", "cuDriverGetVersion", (1000, 10)),
    ("libnccl.so", "nccl.version", "ncclGetVersion", (10000, 100, 1)),
    ("librccl.so", "rccl.version", "ncclGetVersion", (10000, 100, 1)),
    ("libcudnn.so", "cudnn.version", "", ()),
)


def driver_facts(root: Path = _ROOT) -> list[Fact]:
    """Give the versions of the kernel's drivers on this node."""
    facts = []
    nvidia = _DRIVER.search(_read(root / "proc/driver/nvidia/version"))
    if nvidia:
        facts.append(Fact("nvidia.kernel_driver", nvidia[1]))
    for name, path in (("amd.kernel_driver", "sys/module/amdgpu/version"), ("rocm.version", "opt/rocm/.info/version")):
        text = _read(root / path).strip()
        if text:
            facts.append(Fact(name, text[:100]))
    return facts


def library_facts(maps: str | None = None) -> list[Fact]:
    """Give the versions of libraries that this process has loaded, and of what PyTorch was built for.

    Parameters
    ----------
    maps
        What the process has mapped, as the kernel lists it; that of this process by default.
    """
    text = _read(Path("/proc/self/maps")) if maps is None else maps
    loaded: dict[str, str] = {}
    for line in text.splitlines():
        give_way()
        _, sign, path = line.partition("/")
        if sign:
            loaded.setdefault(path.rpartition("/")[2], f"/{path}")
    facts = []
    for library, name, function, units in _LIBRARIES:
        path = next((path for file, path in loaded.items() if file.startswith(library)), "")
        version = path and (_asked(path, function, units) or _numbered(path))
        if version:
            facts.append(Fact(name, version))
    return facts + _torch()


def _torch() -> list[Fact]:
    """Read what PyTorch says of its building; finding a package does not import it."""
    if "torch" not in sys.modules and not any(sys.path):
        return []
    found = PathFinder.find_spec("torch", sys.path)
    if found is None or not found.submodule_search_locations:
        return []
    text = _read(Path(next(iter(found.submodule_search_locations))) / "version.py")
    return [Fact(f"torch.{name}", value) for name, value in _BUILT.findall(text)]


def _asked(path: str, function: str, units: tuple[int, ...]) -> str:
    """Ask a library that is loaded already for its version; loading it here would be a side effect."""
    if not function:
        return ""
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        number = ctypes.c_int(0)
        if getattr(library, function)(ctypes.byref(number)) != 0 or number.value <= 0:
            return ""
    except (OSError, AttributeError):
        return ""
    return _parts(number.value, units)


def _parts(number: int, units: tuple[int, ...]) -> str:
    """Return a version of its one number.

    Examples
    --------
    >>> _parts(12040, (1000, 10)), _parts(22005, (10000, 100, 1))
    ('12.4', '2.20.5')
    """
    parts = []
    for unit in units:
        parts.append(str(number // unit))
        number %= unit
    return ".".join(parts)


def _numbered(path: str) -> str:
    """Return the version that the name of a library's own file ends with, if it does."""
    found = _NUMBERED.search(os.path.realpath(path))
    return found[1] if found else ""


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(16 << 20)
    except OSError:
        return ""
