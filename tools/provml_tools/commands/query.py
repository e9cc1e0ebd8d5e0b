"""``provml query``: questions to one or many files."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from provml_hpc.errors import FileMissingError, FormatError, UsageError

if TYPE_CHECKING:
    from provml_tools.query import Answer, Engine

HELP = "ask files a question"
DESCRIPTION = """\
Ask one or many files a question: a named one (see --list), or any in SPARQL 1.1.
All files are asked together, so a question reaches from a model to the raw data through the jobs between them; give the
files of all those jobs. Files that are still being written can be asked too. Files are never changed by a question.

In SPARQL, a plain pattern sees all runs together, and GRAPH ?g { ... } a run each. The prefixes provml, prov, mls,
dcterms, rdf, rdfs, skos, owl and xsd need not be declared."""
EXAMPLES = """\
examples:
  provml query --list
  provml query learning.h5 compare-trainings --measure accuracy
  provml query learning.h5 compare-trainings --measure score --direction lower --format csv > trainings.csv
  provml query *.h5 model-lineage --model unet.npz
  provml query *.h5 model-lineage --format svg > lineage.svg
  provml query *.h5 data-impact --data sheet-03.pgm
  provml query running.h5 training-progress
  provml query --store runs.store compare-trainings
  provml query --endpoint http://localhost:7878/query who --model unet.npz
  provml query learning.h5 --sparql 'SELECT ?name { ?m a provml:Model ; rdfs:label ?name }'
  provml query learning.h5 --sparql @question.rq --format json

--format json gives an array with an object a row, csv a line a row, both with every value in full; ASK gives true or
false."""

_PARAMETERS = {
    "study": "the study, by its name",
    "experiment": "the experiment, by its name",
    "training": "the training, by its name",
    "model": "the model, by its name, path, the end of its path, or its digest",
    "data": "the dataset, likewise",
    "measure": "the measure that decides what is best",
}

_PICTURES = ("svg", "dot")


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="files that runs wrote, or still write")
    # Only for the help: it comes as one of the files, and `_split` finds out which.
    parser.add_argument("name", nargs="?", metavar="NAME", help="the name of a question")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--store", metavar="DIR", help="ask a store that `provml load` filled, instead of files")
    place.add_argument(
        "--endpoint", metavar="URL", help="ask the SPARQL query service at this address, instead of files"
    )
    parser.add_argument("--list", action="store_true", help="list the named questions with their parameters")
    parser.add_argument("--sparql", metavar="TEXT", help="a query in SPARQL, or @FILE to read it from")
    parser.add_argument(
        "--format",
        choices=["table", "json", "csv", *_PICTURES],
        default="table",
        help="table for people (the default), json, csv; model-lineage as a picture: svg, or dot for Graphviz",
    )
    group = parser.add_argument_group("parameters of named questions")
    for name, comment in _PARAMETERS.items():
        group.add_argument(f"--{name}", metavar="NAME", help=comment)
    group.add_argument(
        "--direction",
        choices=["higher", "lower"],
        help="which values of the measure are better; told by its name if not given",
    )
    group.add_argument(
        "--unfold", action="store_const", const="yes", help="show each thing where the table folds what is alike"
    )


def run(options: Namespace) -> int:
    """Answer the question, or list what can be asked."""
    from provml_tools.query import catalog, find

    if options.list:
        if options.format in _PICTURES:
            raise UsageError(f"The list is no picture; leave --format {options.format} out.")
        _list(options.format)
        return 0
    words = options.files
    stored = options.store is not None or options.endpoint is not None
    names = (*_PARAMETERS, "direction", "unfold")
    values = {name: given for name in names if (given := getattr(options, name)) is not None}
    if options.sparql is not None:
        if values:
            raise UsageError(f"--{next(iter(values))} belongs to a named question. Write it into the SPARQL.")
        if not words and not stored:
            raise UsageError("No file is given. Name the files to ask: provml query FILE... --sparql TEXT")
        text, files, name = _sparql(options.sparql), words, None
    else:
        files, name = ([], words[0]) if stored and len(words) == 1 else _split(words, list(catalog()))
        text = ""
        # Before any file is read, so that a wrong call is told at once.
        find(name).bind(values)
    if options.format in _PICTURES and (name is None or find(name).then != "lineage"):
        raise UsageError(f"Only model-lineage has a picture, so --format {options.format} has no meaning here.")
    if stored and files:
        raise UsageError(f"Either files or a store: load {files[0]} into the store first, or leave the store out.")
    return _answer(files, name, text, values, options.format, options.store, options.endpoint)


def _split(words: list[str], known: list[str]) -> tuple[list[str], str]:
    """Tell the files from the name of the question, which usually comes last."""
    names = [at for at, word in enumerate(words) if word in known and not Path(word).is_file()]
    if len(names) > 1:
        raise UsageError(f"One question at a time: {' and '.join(words[at] for at in names)} are two.")
    if names:
        rest = words[: names[0]] + words[names[0] + 1 :]
        if not rest:
            raise UsageError(f"No file is given. Name the files to ask: provml query FILE... {words[names[0]]}")
        return rest, words[names[0]]
    listed = ", ".join(known)
    if not words:
        raise UsageError(f"Name files and a question: provml query FILE... NAME. There are: {listed}.")
    if len(words) == 1 or Path(words[-1]).exists() or words[-1].endswith((".h5", ".partial")):
        raise UsageError(f"Which question? Add its name after the files, or --sparql TEXT. There are: {listed}.")
    return words[:-1], words[-1]


def _sparql(given: str) -> str:
    if not given.startswith("@"):
        return given
    path = Path(given[1:])
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{path} is no text in UTF-8. Give a file that holds SPARQL.") from None
    except OSError as error:
        reason = error.strerror
        raise FileMissingError(f"Cannot read {path}: {reason}. Name a file that holds SPARQL after the @.") from None


@contextlib.contextmanager
def _opened(files: list[str], store: str | None, endpoint: str | None) -> Iterator[Engine]:
    """Open what is asked: files, a store on disk, or an endpoint."""
    from provml_tools.commands.files import together
    from provml_tools.console import progress
    from provml_tools.query import Engine

    if store is not None or endpoint is not None:
        from provml_tools.store import asking, asking_endpoint

        with asking(store) if store is not None else asking_endpoint(str(endpoint)) as stored:
            yield stored
        return
    with together(files) as graphs:
        with progress("loading", len(files)) as done:
            engine = Engine(graphs, done)
        yield engine


def _answer(
    files: list[str],
    name: str | None,
    text: str,
    values: dict[str, str],
    form: str,
    store: str | None = None,
    endpoint: str | None = None,
) -> int:
    from provml_tools.console import note
    from provml_tools.query import ask, free
    from provml_tools.query.tables import write

    with _opened(files, store, endpoint) as engine:
        answer = free(engine, text) if name is None else ask(engine, name, values)
        if isinstance(answer, bool):
            word = "true" if answer else "false"
            sys.stdout.write({"table": "yes" if answer else "no"}.get(form, word) + "\n")
            return 0
        if form in _PICTURES:
            sys.stdout.write(_picture(answer, form))
        else:
            write(answer, sys.stdout, form, _names(engine, answer) if form == "table" else {})
        # A store has something to say too.
        notes = [*answer.notes, *(answer.remarks if form == "table" else ()), *getattr(engine, "notes", list)()]
    sys.stdout.flush()
    for one in notes:
        note(one)
    if not answer.rows:
        note("nothing found" if not answer.notes else "so nothing was found")
    return 0


def _picture(answer: Answer, form: str) -> str:
    """Return an answer as a picture; nothing where there is no answer, as with the other formats."""
    from provml_tools.query.picture import FORMATS

    return FORMATS[form](answer.draw()) if answer.draw is not None else ""


def _names(engine: Engine, answer: Answer) -> dict[str, str]:
    """Return the label of every node that a table shows."""
    from provml_tools.query.engine import Iri

    shown = answer.shown or answer.columns
    nodes = sorted({value for row in answer.rows for name in shown if isinstance(value := row.get(name), Iri)})
    found: dict[str, str] = {}
    for start in range(0, len(nodes), 1000):
        listed = " ".join(f"<{iri}>" for iri in nodes[start : start + 1000])
        # Of several labels, the first in the alphabet stays.
        query = f"SELECT ?node ?name {{ VALUES ?node {{ {listed} }} ?node rdfs:label ?name }} ORDER BY DESC(?name)"
        for row in engine.select(query):
            found[str(row["node"])] = str(row["name"])
    return found


def _list(form: str) -> None:
    from provml_tools.query import catalog
    from provml_tools.query.answer import Answer
    from provml_tools.query.tables import as_csv, as_json

    queries = catalog().values()
    if form == "table":
        for one in queries:
            sys.stdout.write(f"{one.name}\n{_filled(one.question + '.', '    ', '    ')}")
            for parameter in one.parameters.values():
                sys.stdout.write(_filled(parameter.comment, f"    --{parameter.name:<12} ", " " * 19))
        return
    rows = [
        {"name": one.name, "question": one.question, "parameters": ", ".join(f"--{name}" for name in one.parameters)}
        for one in queries
    ]
    answer = Answer(["name", "question", "parameters"], rows)
    sys.stdout.write(as_json(answer) if form == "json" else as_csv(answer))


def _filled(text: str, first: str, others: str) -> str:
    """Return text in lines that fit a terminal of usual width."""
    return textwrap.fill(text, 100, initial_indent=first, subsequent_indent=others) + "\n"
