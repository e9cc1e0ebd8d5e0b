"""Looking at what may hang, abort or crash: in a process of its own, with a time limit.

A child says what it found step by step, a JSON object a line behind a mark, so that it is known how far it came.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from provml_tools.console import one_line

MARK = "@provml-doctor "
_OUTPUT_LIMIT = 1 << 20
# Without the folder that it is started in, which a command on the path does not import from either. This package comes
# last, as it may have been found by other means than the child's.
_PRELUDE = """\
import json, sys
sys.path[:] = [one for one in sys.path if one] + {path!r}
def tell(step, **facts):
    sys.stdout.write("\\n" + {mark!r} + json.dumps({{"step": step, **facts}}) + "\\n")
    sys.stdout.flush()
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child said, and how it ended."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What it told, by step."""
    trouble: str = ""
    """Why it did not come to its end, empty where it did."""
    text: str = ""
    """All that it wrote."""


def ask(source: str, seconds: float, env: Mapping[str, str] | None = None, keep: Sequence[int] = ()) -> Answer:
    """Run Python source in a child, which may call ``tell(step, **facts)``.

    Parameters
    ----------
    source
        The program.
    seconds
        After which it is killed.
    env
        Its environment, by default that of this process.
    keep
        Open files that it inherits.
    """
    here = Path(__file__).resolve().parents[2]
    packages = [str(here), str(here.parent)] if here.name == "tools" else [str(here)]
    prelude = _PRELUDE.format(path=packages, mark=MARK)
    return run([sys.executable, "-c", prelude + source], seconds, env, keep)


def run(
    command: Sequence[str], seconds: float, env: Mapping[str, str] | None = None, keep: Sequence[int] = ()
) -> Answer:
    """Run a command and return what it said, never raising."""
    try:
        # A file and not a pipe: a daemon that the command leaves behind would keep a pipe open.
        with _scratch() as out:
            trouble = _wait(command, seconds, env, keep, out)
            out.seek(0)
            text = out.read(_OUTPUT_LIMIT).decode("utf-8", "replace").replace("\0", "")
    except OSError as error:
        return Answer(trouble=error.strerror or str(error))
    if trouble.startswith("exit code"):
        trouble = _last_words(text) or trouble
    return Answer(_steps(text), trouble, text)


def _scratch() -> IO[bytes]:
    """Open a file without a name, in memory where that can be had: the disk may be what is ill."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("provml-doctor"), "w+b")
    return tempfile.TemporaryFile()


def _wait(
    command: Sequence[str], seconds: float, env: Mapping[str, str] | None, keep: Sequence[int], out: IO[bytes]
) -> str:
    """Return why a command did not end well, or nothing."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        env=None if env is None else dict(env),
        pass_fds=tuple(keep),
        start_new_session=True,
    )
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"no answer in {seconds:g} s"
    finally:
        # Also what it has started itself, and also after Ctrl-C.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # A process that waits for a dead file system cannot even be killed.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"
    return f"exit code {code}" if code else ""


def _steps(text: str) -> dict[str, dict[str, Any]]:
    steps: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                facts = json.loads(line.removeprefix(MARK))
                steps[facts.pop("step")] = facts
    return steps


def _last_words(text: str) -> str:
    """Return the last line that a child said beside its steps: of a traceback, the error."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(MARK)]
    return one_line(lines[-1])[:300] if lines else ""
