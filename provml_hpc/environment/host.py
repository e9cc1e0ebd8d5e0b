"""Facts of the user, the command, Python, the operating system and the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import socket
import sys
from pathlib import Path

from provml_hpc.environment.facts import Fact
from provml_hpc.environment.redaction import HIDDEN, plain_arguments, redact_arguments

COMMAND_LIMIT = 65536
"""Longest command line that is recorded whole, in characters."""

_SCRIPT_LIMIT = 64 * 2**20
_NETWORKS = Path("/sys/class")


def run_facts(*, words: bool = False) -> list[Fact]:
    """Describe who runs what, where, with which Python: the same on all ranks.

    Parameters
    ----------
    words
        Whether the command line is told with all of its words that do not look secret, and not only with what can be
        none.
    """
    facts = [Fact("user.name", user_name()), Fact("user.id", os.getuid())]
    return [
        *facts,
        *_command_facts(words),
        Fact("python.version", platform.python_version()),
        Fact("python.implementation", platform.python_implementation()),
        Fact("python.executable", sys.executable or ""),
        Fact("python.prefix", sys.prefix),
    ]


def node_facts() -> list[Fact]:
    """Describe this node: name, operating system, processors, memory."""
    system = os.uname()
    facts = [
        Fact("host.name", socket.gethostname()),
        Fact("os.name", system.sysname),
        Fact("os.release", system.release),
        Fact("os.machine", system.machine),
    ]
    distribution = _field(Path("/etc/os-release"), "PRETTY_NAME", "=").strip("\"'")
    if distribution:
        facts.append(Fact("os.distribution", distribution))
    model = _field(Path("/proc/cpuinfo"), "model name", ":") or platform.processor()
    if model:
        facts.append(Fact("host.cpu_model", model))
    count = os.cpu_count()
    if count:
        facts.append(Fact("host.cpu_count", count))
    with contextlib.suppress(OSError, ValueError):
        facts.append(Fact("host.memory_bytes", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    networks = _networks(_NETWORKS)
    if networks:
        facts.append(Fact("host.network", networks))
    return facts


def _networks(classes: Path) -> str:
    """Name the fast networks of this node, with the rates of their ports: InfiniBand and its kin, Slingshot."""
    found = []
    for port in sorted(classes.glob("infiniband/*/ports/*")):
        told = [_line(port / name) for name in ("link_layer", "rate")]
        found.append(" ".join(filter(None, [port.parents[1].name, *told])))
    found += [f"{device.name} Slingshot" for device in sorted(classes.glob("cxi/*"))]
    return ", ".join(found)


def _line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def rank_facts() -> list[Fact]:
    """Describe this process: its number, its host, the processors it may use."""
    facts = [Fact("process.id", os.getpid()), Fact("process.host", socket.gethostname())]
    if hasattr(os, "sched_getaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        facts += [
            Fact("process.cpu_count", len(processors)),
            Fact("process.cpus", _ranges(processors)),
        ]
    return facts


def user_name() -> str:
    """Give the name of the user that the process runs as, by the system and not by variables that anybody can set."""
    import pwd

    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        # In a container the number often has no entry; the variables are then the best there is.
        return os.environ.get("LOGNAME") or os.environ.get("USER") or f"uid-{number}"


def script_path() -> Path | None:
    """Find the file of the program that runs, or None in an interactive session or under ``python -c``."""
    main = sys.modules.get("__main__")
    name = getattr(main, "__file__", None)
    if not name and sys.argv and sys.argv[0] not in {"", "-", "-c", "-m"}:
        name = sys.argv[0]
    if not name:
        return None
    path = Path(name).absolute()
    return path if path.is_file() else None


def _command_facts(words: bool) -> list[Fact]:
    import hashlib  # OpenSSL, which only the rank that tells of the script needs

    given = list(getattr(sys, "orig_argv", None) or sys.argv)
    arguments = redact_arguments(given) if words else plain_arguments(given, _programs(given))
    line = shlex.join(arguments)
    remarks = []
    hidden = sum(argument.count(HIDDEN) for argument in arguments) - sum(argument.count(HIDDEN) for argument in given)
    if hidden > 0:
        asked = "" if words else ', which is all but options, numbers and paths; record=["arguments"] shows more'
        remarks.append(f"{hidden} value(s) that {'look' if words else 'may be'} secret are hidden{asked}")
    if len(line) > COMMAND_LIMIT:
        remarks.append(f"cut from {len(line)} characters")
        line = line[:COMMAND_LIMIT]
    facts = [Fact("command.line", line, "; ".join(remarks))]
    try:
        facts.append(Fact("command.directory", str(Path.cwd())))
    except OSError as error:
        facts.append(Fact("command.directory.reason", f"the working directory is gone: {error.strerror}"))
    script = script_path()
    if script is not None:
        facts.append(Fact("command.script", str(script)))
        try:
            if script.stat().st_size <= _SCRIPT_LIMIT:
                facts.append(Fact("command.script_sha256", hashlib.sha256(script.read_bytes()).hexdigest()))
        except OSError as error:
            facts.append(Fact("command.script_sha256.reason", str(error.strerror)))
    return facts


def _programs(given: list[str]) -> set[int]:
    """Return which words of a command line name the programs: the interpreter, and the script or module."""
    script = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c", "-m") else None
    places = {0}
    for place, word in enumerate(given[1:], 1):
        if word == script or given[place - 1] == "-m":
            return places | {place}
        if word == "-c":
            break
    return places


def _field(path: Path, key: str, sign: str) -> str:
    """Give the value of the first line ``key sign value`` of a small text file, or an empty text."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, found, value = line.partition(sign)
                if found and name.strip() == key:
                    return value.strip()
    except OSError:
        pass
    return ""


def _ranges(numbers: list[int]) -> str:
    """Write sorted numbers as the kernel does: ``0-3,8``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
