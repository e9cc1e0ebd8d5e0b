"""The house itself: what a newcomer, a packager or a cluster relies on without being told."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.metadata
import importlib.util
import json
import os
import pkgutil
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import provml_hpc
from provml_hpc import _version


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said."""
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=120)


def tracked_texts(repository: Path) -> dict[str, str]:
    """Return the tracked files that are text, by name."""
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("not a git checkout, so nothing is tracked")
    listed = run("git", "ls-files", "-z", cwd=repository)
    assert listed.returncode == 0, listed.stderr
    texts = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = repository / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            texts[name] = content.decode("utf-8", errors="replace")
    return texts


def python_of(page: Path) -> list[str]:
    """Return the blocks of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_every_module_says_what_it_is(repository: Path) -> None:
    modules = [
        path
        for folder in ("provml_hpc", "tools/provml_tools", "examples", "tests")
        for path in sorted((repository / folder).rglob("*.py"))
    ]
    assert len(modules) > 10
    silent = [
        str(path.relative_to(repository)) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize("package", ["provml_hpc/assembly", "provml_hpc/capture", "provml_hpc/storage", "query"])
def test_a_package_of_many_modules_has_a_map_of_them(repository: Path, package: str) -> None:
    folder = repository / (package if "/" in package else f"tools/provml_tools/{package}")
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    named = {word.rpartition(".")[2] for word in re.findall(r"`([a-z_.]+)`", said)}
    assert modules - named == set()


def test_the_import_is_light(tmp_path: Path) -> None:
    heavy = ["h5py", "mpi4py", "pandas", "pyoxigraph", "rich", "sklearn"]
    answer = run(
        sys.executable,
        "-c",
        f"import json, sys, provml_hpc; print(json.dumps([name for name in {heavy} if name in sys.modules]))",
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == []


def test_the_version_is_the_same_everywhere(repository: Path) -> None:
    version = provml_hpc.__version__
    assert version == _version.__version__
    latest = re.search(r"^## \[(\d+\.\d+\.\d+\S*)\]", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    assert latest[1] == version


def test_the_installed_version_is_this_one() -> None:
    try:
        installed = importlib.metadata.version("provml-hpc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package runs from its sources and is not installed")
    assert installed == _version.__version__


def test_imports_go_one_way(repository: Path) -> None:
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed")
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    answer = run(sys.executable, "-c", program, cwd=repository)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "0 broken" in answer.stdout


def test_the_examples_of_docstrings_hold() -> None:
    tried = 0
    for package in ("provml_hpc", "provml_tools"):
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                found = doctest.testmod(importlib.import_module(module.name))
                assert not found.failed, module.name
                tried += found.attempted
    assert tried > 25


def test_the_readme_shows_the_minimal_example_as_it_is(repository: Path) -> None:
    assert (repository / "examples" / "minimal.py").read_text() in python_of(repository / "README.md")


def test_the_python_of_the_pages_is_python(repository: Path) -> None:
    blocks = 0
    for page in [*repository.glob("*.md"), *(repository / "docs").rglob("*.md")]:
        for block in python_of(page):
            compile(block, page.name, "exec")
            blocks += 1
    assert blocks > 3


def anchors_of(page: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    heads = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head) for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def test_links_of_the_pages_lead_somewhere(repository: Path) -> None:
    broken = []
    folders = ("docs", "slurm", "examples")
    for page in [*repository.glob("*.md"), *(page for name in folders for page in (repository / name).rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            name, _, anchor = target.partition("#")
            there = page.parent / name if name else page
            if urlsplit(target).scheme:
                continue
            if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors_of(there)):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_no_file_names_the_machine_it_was_written_on(repository: Path) -> None:
    own = {str(repository), str(Path(sys.prefix).resolve())}
    own |= {host for host in (socket.gethostname(), socket.getfqdn()) if len(host) > 8 and host != "localhost"}
    home = str(Path.home())
    if home not in ("/", "/root"):
        own.add(home)
    own |= {
        host
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "NPM_CONFIG_REGISTRY")
        if (host := urlsplit(os.environ.get(name, "")).hostname)
    }
    # A package is named by its name; where it comes from is a setting of the machine.
    registry = re.compile(r"\b(?:[\w-]+\.)*(?:pypi|pythonhosted|npmjs|anaconda|debian)\.(?:org|com|net|io)\b")
    found = [
        f"{name}: {hit}"
        for name, text in tracked_texts(repository).items()
        for hit in [*(word for word in own if word in text), *registry.findall(text)]
    ]
    assert found == []
