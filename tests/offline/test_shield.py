"""A command that a file brings down ends with code 1 and one line, in bounded time, and leaves nothing behind.

The files here are stand-ins: what a command does is replaced by what HDF5 did on spoiled files. Real ones are faced by
``tests.faults.fuzz``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mpi import launch

_HANG = """
from provml_hpc.storage import careful
with careful.in_time():
    while True:
        pass
"""
_MEMORY = "x = [bytes(1 << 28) for _ in range(64)]"


def _command(tmp_path: Path, body: str, *arguments: str, limits: str = "") -> subprocess.Popen[str]:
    """Start ``provml info`` with its work replaced."""
    code = f"""
import os, signal, sys, time
from resource import RLIMIT_CPU, RLIMIT_DATA, getrlimit
from provml_tools import cli, shield
from provml_tools.commands import info
{limits}
def run(options):
{"".join(f"    {line}" for line in body.strip().splitlines(keepends=True))}
    return 0
info.run = run
sys.argv = ["provml", "info", {str(tmp_path / "job.h5")!r}, *{list(arguments)!r}]
sys.exit(cli.main())
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=launch.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "limits", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "", "brought a library down (SIGSEGV)"),
        ("os.abort()", "", "brought a library down (SIGABRT)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "", "SIGKILL"),
        (_HANG, "shield.CALL_S = 0.2", "does not come to an end"),
        ("while True: pass", "shield.WHOLE_S = 1", "more time than a file of its size can"),
        (_MEMORY, "", "not enough memory"),
        ("raise ZeroDivisionError('x')", "", "this should not happen"),
    ],
)
def test_one_line_and_code_1(body: str, limits: str, said: str, tmp_path: Path) -> None:
    output, error = (process := _command(tmp_path, body, limits=limits)).communicate(timeout=60)
    assert process.returncode == 1
    assert error.count("\n") == 1
    assert error.startswith("provml info: error: ")
    assert said in error
    assert output == ""


def test_what_was_not_finished_goes(tmp_path: Path) -> None:
    body = """
from provml_tools.console import output
from provml_tools.export.folder import new_folder
with output("out.nt") as stream:
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGSEGV)
"""
    process = _command(tmp_path, body)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_codes_and_output_of_the_child_are_those_of_the_command(tmp_path: Path) -> None:
    process = _command(tmp_path, "print('said')\nreturn 5")
    assert process.communicate(timeout=60)[0] == "said\n"
    assert process.returncode == 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_reaches_the_work(number: signal.Signals, code: int, tmp_path: Path) -> None:
    body = f"""
try:
    open({str(tmp_path / "began")!r}, "w").close()
    time.sleep(60)
finally:
    open({str(tmp_path / "tidied")!r}, "w").close()
"""
    process = _command(tmp_path, body)
    _until((tmp_path / "began").exists)
    process.send_signal(number)
    assert process.wait(60) == code
    assert (tmp_path / "tidied").exists()
    process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent; run it there")
def test_a_command_that_is_killed_goes_on_in_nobody(tmp_path: Path) -> None:
    process = _command(tmp_path, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    _until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    child = int((tmp_path / "pid").read_text())
    assert child != process.pid
    process.kill()
    process.communicate()
    _until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _until(true: object) -> None:
    assert callable(true)
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about in 30 s")


def test_the_limits_grow_with_the_journals_that_a_recovery_reads(tmp_path: Path) -> None:
    from argparse import Namespace

    from provml_tools import shield

    hidden, further = tmp_path / ".job.h5.provml", tmp_path / "further"
    for folder in (hidden, further):
        folder.mkdir()
        (folder / "x.journal").write_bytes(os.urandom(1 << 20))
    options, names = Namespace(file="job.h5", journals=[str(further)]), [str(tmp_path / "job.h5")]
    assert shield._size_of_journals(options, names) >= 2 << 20
    assert shield._size_of_journals(Namespace(file="job.h5"), names) == 0


def test_the_limits_grow_with_the_file(tmp_path: Path) -> None:
    body = "print(*(getrlimit(one)[0] for one in (RLIMIT_DATA, RLIMIT_CPU)))"
    found = []
    for size in (0, 64 << 20):
        (tmp_path / "job.h5").write_bytes(os.urandom(1024) * (size // 1024))
        found.append([int(one) for one in _command(tmp_path, body).communicate(timeout=60)[0].split()])
    (memory, seconds), (more_memory, more_seconds) = found
    assert 0 < memory < 8 << 30
    assert more_memory > memory + (64 << 30)
    assert more_seconds >= seconds + 64 * 60
