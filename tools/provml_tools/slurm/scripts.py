"""A job script as text with settings: the ``#SBATCH`` lines and the assignments, each with its comment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provml_hpc.errors import UsageError

SUFFIX = ".sbatch"
_OPTION = re.compile(r"^(?P<off>#?)#SBATCH --(?P<name>[a-z-]+)=(?P<value>\S+)(?P<space> *)(?:# (?P<about>.*))?$")
_VARIABLE = re.compile(r"^(?P<name>[A-Z]+)=(?P<value>\(.*?\)|\S*)(?P<space> *)(?:# (?P<about>.*))?$")
VARIABLES = {
    "ACTIVATE": "activate",
    "OUTPUT": "provenance",
    "PROGRAM": "program",
    "CHECKPOINT": "checkpoint",
    "FILES": "inputs",
    "GRAPH": "graph",
    "DEVICE": "device",
}
"""What is asked for besides the options of sbatch, by the name of its variable in the scripts."""
_NUMBERS = {"nodes", "ntasks-per-node", "ntasks", "cpus-per-task"}
_TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d){0,2}")
_PLAIN = re.compile(r"[\w./~+%@:${}-]*")


@dataclass(frozen=True)
class Setting:
    """One line of a script that a user may want to be different."""

    name: str
    """As the option of ``provml slurm-template``: that of sbatch, or of :data:`VARIABLES`."""
    value: str
    about: str
    """The comment beside it."""
    active: bool
    """False for an ``#SBATCH`` line that is commented out: it counts once it has a value."""
    line: int


def folder() -> Path:
    """Return where the scripts are: in an installed package beside this module, in a checkout at its top."""
    beside = Path(__file__).with_name("shipped")
    return beside if beside.is_dir() else Path(__file__).resolve().parents[3] / "slurm"


def kinds() -> dict[str, str]:
    """Return the kinds of scripts, each with the line that says what it is for."""
    found = {}
    for path in sorted(folder().glob(f"*{SUFFIX}")):
        found[path.stem.replace("_", "-")] = path.read_text().splitlines()[1].removeprefix("# ")
    return found


def text_of(kind: str) -> str:
    """Return a script as it is shipped.

    Raises
    ------
    UsageError
        There is none of that kind.
    """
    if kind not in kinds():
        raise UsageError(f"there is no script {kind!r}; choose one of {', '.join(kinds())}")
    return (folder() / f"{kind.replace('-', '_')}{SUFFIX}").read_text()


def settings(text: str) -> list[Setting]:
    """Return what can be set in a script, in its order."""
    found = []
    for number, line in enumerate(text.splitlines()):
        option, variable = _OPTION.match(line), _VARIABLE.match(line)
        if option:
            found.append(Setting(option["name"], option["value"], option["about"] or "", not option["off"], number))
        elif variable and variable["name"] in VARIABLES:
            value = variable["value"]
            if value.startswith("("):
                value = value[1:-1]
            found.append(Setting(VARIABLES[variable["name"]], value, variable["about"] or "", True, number))
    return found


def fill(kind: str, answers: Mapping[str, str], name: str | None = None) -> str:
    """Return a script with some of its settings answered.

    Parameters
    ----------
    kind
        One of :func:`kinds`.
    answers
        Values by the name of the setting.
    name
        The file that it is for, which its comments then name.

    Raises
    ------
    UsageError
        The script has no such setting, or the value cannot be meant.
    """
    text = text_of(kind)
    there = {setting.name: setting for setting in settings(text)}
    lines = text.splitlines()
    for answer, value in answers.items():
        setting = there.get(answer)
        if setting is None:
            raise UsageError(f"{kind} has no {answer} to set; it has {', '.join(there)}")
        check(answer, value)
        lines[setting.line] = _line(lines[setting.line], answer, value)
    filled = "\n".join(lines) + "\n"
    return filled if name is None else filled.replace(f"slurm/{kind.replace('-', '_')}{SUFFIX}", shlex.quote(name))


def check(name: str, value: str) -> None:
    """Refuse what would not be the value that was meant.

    Raises
    ------
    UsageError
        It is none.
    """
    if name in _NUMBERS and not (value.isascii() and value.isdecimal() and int(value) > 0):
        raise UsageError(f"{name}={value!r} is no number from 1 on; write for example 4")
    if name == "time" and not _TIME.fullmatch(value):
        raise UsageError(f"time={value!r} is no time limit; write for example 02:00:00, or 1-12:00:00 for days")
    if not value.isprintable():
        raise UsageError(f"{name}={value!r} has characters that no line of a script can have; leave them out")
    if name in ("program", "inputs"):
        try:
            words = list(shlex.shlex(value, posix=True, punctuation_chars=True))
        except ValueError as error:
            raise UsageError(f"{name}={value!r}: {error}; close what was opened") from None
        if any(set(word) <= set("();<>|&") for word in words if word) or not words:
            raise UsageError(f"{name}={value!r} is more than one plain command; put it into a script, and name that")
    elif name not in VARIABLES.values() and (not value or re.search(r"[\s#\"'\\]", value)):
        raise UsageError(f"{name}={value!r} is no value of an #SBATCH line; write it without spaces and quotes")


def _line(line: str, name: str, value: str) -> str:
    option, variable = _OPTION.match(line), _VARIABLE.match(line)
    if option:
        head, about = f"#SBATCH --{name}={value}", option["about"]
        if option["off"]:
            about = None  # it says how to switch it on
    else:
        assert variable is not None
        if variable["value"].startswith("("):
            said = f"({value})"
        else:
            said = value if _PLAIN.fullmatch(value) else shlex.quote(value)
        head, about = f"{variable['name']}={said}", variable["about"]
    return f"{head:<38} # {about}" if about else head
