"""What may hold a secret is not recorded unless somebody asks, and is redacted then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc.environment import recording
from provml_hpc.environment.redaction import HIDDEN, plain_arguments
from provml_hpc.errors import UsageError

SECRET = "Zq9hunter2"
TOKEN = "ghp_0123456789abcdefABCDEF0123456789abcd"
JOB = """
import sys
import provml_hpc as provml
with provml.init("job", phase="curation", output=sys.argv[1], record=sys.argv[2].split(",") if sys.argv[2] else ()):
    pass
"""


@given(st.lists(st.text(max_size=40), max_size=8))
def test_only_what_cannot_be_a_secret_is_kept(arguments: list[str]) -> None:
    for given_, kept in zip(arguments, plain_arguments(arguments), strict=True):
        name, _, value = kept.rpartition("=")
        assert (
            kept.startswith("-") or value == HIDDEN or name + HIDDEN == kept or os.path.lexists(kept) or _plain(value)
        )
        assert HIDDEN in kept or kept == given_


def _plain(value: str) -> bool:
    try:
        float(value or 0)
    except ValueError:
        return value.lower() in ("true", "false", "yes", "no", "on", "off", "none", "null", "inf", "nan")
    return sum(map(str.isdigit, value)) <= 21


def test_a_command_line_keeps_its_numbers_options_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiles.h5").touch()
    given_ = [
        "py",
        "train.py",
        "--lr",
        "1e-3",
        "--amp=true",
        "--data=tiles.h5",
        "tiles.h5",
        "--name",
        "blue",
        "-v",
        "--pin=12",
    ]
    assert plain_arguments(given_, {0, 1}) == [*given_[:8], HIDDEN, "-v", "--pin=12"]
    hidden = ["--password", "12", "--api-key=7", f"--{TOKEN}", "gone.h5", "1234567890123456789012"]
    assert plain_arguments(hidden) == ["--password", HIDDEN, f"--api-key={HIDDEN}", *[HIDDEN] * 3]


def test_variables_are_told_from_a_list() -> None:
    environ = {"OMP_NUM_THREADS": "4", "HOME": "/root", "MY_OMP_X": "1", "NCCL_AUTH": SECRET, "FI_X": f"token={SECRET}"}
    told = {fact.name: fact.value for fact in recording.environment_facts(environ)}
    assert told == {
        "environment.OMP_NUM_THREADS": "4",
        "environment.NCCL_AUTH": HIDDEN,
        "environment.FI_X": f"token={HIDDEN}",
    }


def test_what_is_asked_for() -> None:
    assert recording.parse(["diff"], {"PROVML_RECORD": "arguments, nonsense"}) == {"diff", "arguments"}
    assert recording.parse("diff", {}) == {"diff"}
    with pytest.raises(UsageError, match="record='all'; choose of arguments, environment, diff"):
        recording.parse(["all"], {})


def _texts(path: Path) -> list[bytes]:
    """Return all that a file holds: its bytes, and its datasets and attributes unpacked."""
    found = [path.read_bytes()]

    def look(name: str, thing: Any) -> None:
        found.extend([name.encode(), *(np.asarray(value).tobytes() for value in thing.attrs.values())])
        found.extend(str(value).encode() for value in thing.attrs.values())
        if isinstance(thing, h5py.Dataset):
            values = thing[()]
            found.append(b"\n".join(values.ravel().tolist()) if values.dtype.kind in "OS" else values.tobytes())

    with h5py.File(path) as file:
        look("/", file)
        file.visititems(look)
    return found


@pytest.mark.parametrize("record", ["", "arguments,environment,diff"])
def test_no_planted_secret_gets_into_a_file(tmp_path: Path, repository: Path, record: str) -> None:
    code = tmp_path / "code"
    code.mkdir()
    script = code / "job.py"
    script.write_text(JOB)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(code)]
    for command in (["init", "-q"], ["add", "job.py"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True, timeout=60)
    remote = f"https://me:{SECRET}@example.org/{TOKEN}.git"
    subprocess.run([*git, "remote", "add", "origin", remote], check=True, timeout=60)
    script.write_text(f"{JOB}\npassword = '{SECRET}'  # {TOKEN}\nchanged = 'an honest line'\n")
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(repository), str(repository / "tools")]),
        "LOADEDMODULES": f"gcc/12:site/token={SECRET}:mpich/{TOKEN}",
        "APPTAINER_CONTAINER": f"docker://me:{SECRET}@registry/image",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "NCCL_TOKEN": SECRET,
        "OMP_NUM_THREADS": "1",
        "HARMLESS": SECRET,
        "PROVML_TELEMETRY": "0",
    }
    output = tmp_path / "job.h5"
    arguments = [
        f"--password={SECRET}",
        "--token",
        SECRET,
        f"db://u:{SECRET}@h/x",
        TOKEN,
        f"api_key={SECRET}",
        "--lr=0.125",
    ]
    if not record:
        arguments += [SECRET, f"--note={SECRET}", f"bare {SECRET}"]  # which nothing tells from another word
    command = [sys.executable, str(script), str(output), record, *arguments]
    subprocess.run(command, check=True, env=env, cwd=tmp_path, timeout=120)
    texts = b"\n".join(_texts(output))
    for secret in (SECRET.encode(), TOKEN.encode()):
        assert secret not in texts
    for told in (b"--lr=0.125", b"gcc/12", b"example.org", b"code.diff_sha256"):
        assert told in texts
    for asked in (b"environment.OMP_NUM_THREADS", b"an honest line"):
        assert (asked in texts) == bool(record)
