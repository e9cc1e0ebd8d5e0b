"""The command ``provml``: what is done with a provenance file from a shell.

Exit code 0 when done, 2 for a wrong call, 1 for anything else, 130 after Ctrl-C. An error is one line on standard
error; with ``PROVML_DEBUG=1`` in the environment its traceback stands above it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from provml_hpc._version import __version__
from provml_hpc.errors import ProvMLError, UsageError
from provml_tools.console import one_line
from provml_tools.shield import shielded

_DESCRIPTION = """\
Look at provenance files, turn them into RDF, and ask them questions.
A file is what a run wrote (NAME.h5), or still writes: NAME.h5 then stands for NAME.h5.partial too."""

_EXAMPLES = """\
examples:
  provml info facies.h5
  provml convert facies.h5 --to turtle -o facies.ttl
  provml query curation.h5 preparation.h5 learning.h5 model-lineage --model unet.npz
  provml query learning.h5 --sparql "SELECT ?s { ?s a provml:Model }"

exit codes: 0 done, 2 wrong call, 1 anything else
PROVML_DEBUG=1 in the environment shows where an error comes from"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the call, and where to read on."""
        self.exit(2, f"{self.prog}: error: {one_line(message)}; see {self.prog} --help\n")


def parser() -> Parser:
    """Return the parser of all commands."""
    from provml_tools.commands import COMMANDS

    top = Parser(
        prog="provml",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"provml {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True, parser_class=Parser)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.configure(sub)
        sub.set_defaults(run=command.run)
    return top


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    options, rest = top.parse_known_args(arguments)
    # Argparse takes files only up to the first option, as in `provml query a.h5 --format csv compare-trainings`.
    if hasattr(options, "files") and not any(word.startswith("-") for word in rest):
        options.files += [*([options.name] if getattr(options, "name", None) else []), *rest]
        options.name = None
    elif rest:
        where = f"provml {options.command}"
        top.exit(2, f"{where}: error: not understood: {one_line(' '.join(rest))}; see {where} --help\n")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A terminal that cannot show a character gets an escape for it, and not a traceback.
            reconfigure(errors="backslashreplace")
    if arguments is not None:
        return _work(_parse(arguments))
    # So that what is half-written is removed when a scheduler or a person ends the process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _parse(None)
    return shielded(options, _work, lambda message: _fail(f"provml {options.command}", message, 1))


def _work(options: argparse.Namespace) -> int:
    """Do what a call asks for, and say in one line what went wrong."""
    where = f"provml {options.command}"
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _fail(where, str(error), 2)
    except ProvMLError as error:
        return _fail(where, str(error), 1)
    except BrokenPipeError:
        # Who reads has seen enough, as in `provml query ... | head`. Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail(where, "stopped", 130)
    except MemoryError:
        return _fail(where, "not enough memory. Give fewer files at a time, or use a machine with more.", 1)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _fail(where, f"{named}{error.strerror or error}. Look whether the place can be read and written.", 1)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        spoiled = _spoiled(options)
        if spoiled:
            return _fail(where, f"{spoiled} So it cannot be read ({what}). provml validate says more.", 1)
        return _fail(where, f"this should not happen: {what}. Please report it, with what PROVML_DEBUG=1 shows.", 1)


def _spoiled(options: argparse.Namespace) -> str:
    """Return what is wrong with the first file that breaks the rules of the format, or nothing where all keep to them.

    Of a file that no run of ours wrote, not every odd number was thought of everywhere that reads it.
    """
    from provml_tools.validate import documents, validate
    from provml_tools.validate.findings import FORMAT

    for name in [*getattr(options, "files", ()), *([options.file] if getattr(options, "file", None) else [])]:
        try:
            found = [] if documents.is_document(name) else validate(name, (FORMAT,)).findings
        except Exception:
            continue
        for one in found:
            if one.severity == "violation":
                return f"{name} is damaged: {one.record}: {one.message}."
    return ""


def _fail(where: str, message: str, code: int) -> int:
    if os.environ.get("PROVML_DEBUG", "") not in ("", "0"):
        traceback.print_exc()
    sys.stderr.write(f"{where}: error: {one_line(message)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
