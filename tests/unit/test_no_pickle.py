"""What a file or another rank says is never unpickled or evaluated, in no module of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FORBIDDEN = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "joblib",
    "copyreg",
    "jsonpickle",
}
CALLS = {"eval"}
# Of mpi4py, the methods in small letters pickle what they are given.
PICKLING = {
    "send", "recv", "isend", "irecv", "ssend", "issend", "bsend", "ibsend", "sendrecv", "bcast", "scatter", "gather",
    "allgather", "alltoall", "reduce", "allreduce", "scan", "exscan", "mprobe", "improbe",
}  # fmt: skip


def _modules() -> list[Path]:
    root = Path(__file__).resolve().parents[2]
    return sorted([*(root / "provml_hpc").rglob("*.py"), *(root / "tools" / "provml_tools").rglob("*.py")])


def _faults(tree: ast.AST, *, mpi: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{one.name}" for one in node.names)]
        for name in names:
            if set(name.split(".")) & FORBIDDEN:
                yield f"line {node.lineno}: imports {name}"
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS:
                yield f"line {node.lineno}: calls {node.func.id}"
            if isinstance(node.func, ast.Attribute):
                if (
                    mpi
                    and node.func.attr in PICKLING
                    and {"comm", "near"} & set(re.split(r"\W|_", ast.unparse(node.func.value).lower()))
                ):
                    yield f"line {node.lineno}: {ast.unparse(node.func)} pickles"
                if node.func.attr in ("to_pickle", "read_pickle", "dumps_pickle"):
                    yield f"line {node.lineno}: {node.func.attr}"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    yield f"line {node.lineno}: allow_pickle"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import os, dill.settings", "from joblib import load", "eval('1')",
        "numpy.load(p, allow_pickle=True)", "self._comm.bcast(x)", "comm.allgather(1)", "frame.to_pickle('x')",
    ],
)  # fmt: skip
def test_the_check_sees_it(code: str) -> None:
    assert list(_faults(ast.parse(code), mpi=True))


def test_no_module_unpickles_or_runs_what_it_reads() -> None:
    modules = _modules()
    assert len(modules) > 100
    found = {
        f"{path.name} {fault}"
        for path in modules
        for fault in _faults(ast.parse(path.read_text("utf-8")), mpi="transport" in path.parts)
    }
    assert found == set()
