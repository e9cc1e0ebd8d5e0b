"""The commands of ``provml``, a module each.

Each has ``HELP``, ``DESCRIPTION``, ``EXAMPLES``, ``configure(parser)`` and ``run(options)``.

They import what is heavy when they run, so that ``--help`` is quick.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Protocol

from provml_tools.commands import (
    convert,
    doctor,
    export,
    import_,
    info,
    load,
    merge,
    query,
    recover,
    rescue,
    slurm_template,
    validate,
)


class Command(Protocol):
    """What a module of a command has."""

    @property
    def HELP(self) -> str:  # noqa: N802 - a constant of a module
        """A line for the list of commands."""

    @property
    def DESCRIPTION(self) -> str:  # noqa: N802 - a constant of a module
        """What it does."""

    @property
    def EXAMPLES(self) -> str:  # noqa: N802 - a constant of a module
        """Calls that work."""

    def configure(self, parser: ArgumentParser) -> None:
        """Add the arguments."""

    def run(self, options: Namespace) -> int:
        """Do it, and return the exit code."""


COMMANDS: dict[str, Command] = {
    "info": info,
    "convert": convert,
    "query": query,
    "load": load,
    "export": export,
    "import": import_,
    "validate": validate,
    "recover": recover,
    "merge": merge,
    "rescue": rescue,
    "slurm-template": slurm_template,
    "doctor": doctor,
}
"""Every command by its name, in the order of the help."""
