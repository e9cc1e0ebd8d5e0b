"""``provml import``: what other trackers wrote."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from provml_hpc.errors import OutputExistsError, UsageError

if TYPE_CHECKING:
    from provml_tools.importing import Document

HELP = "take over PROV-JSON of other trackers"
DESCRIPTION = """\
Take over PROV-JSON as yProv4ML, DLProv and others write it. What is not quite PROV-JSON is repaired, and each kind of
repair is told once: prefixes that are no IRIs, series as text, times without a zone.
The output decides what it becomes:
  NAME.h5                         a file as a run writes it, which all questions, exports and stores work on
  NAME.nq .nt .ttl .trig .jsonld  RDF in the terms of PROV-O, statement for statement
For several files, -o names a folder that is there, and each becomes a NAME.h5 in it; or a file for RDF of them all."""
EXAMPLES = """\
examples:
  provml import prov/digits_0/prov_digits_GR0_0.json -o digits.h5
  provml import mnist-example.json -o mnist.h5 --timezone America/Sao_Paulo
  provml query digits.h5 compare-trainings
  provml import *.json -o all.nq"""

_RDF = {".nq": "nquads", ".nt": "ntriples", ".ttl": "turtle", ".trig": "trig", ".jsonld": "jsonld"}


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="PROV-JSON that another tracker wrote")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="see above")
    parser.add_argument(
        "--timezone", metavar="NAME", help="the zone of times that have none, such as Europe/Rome; else that of here"
    )
    parser.add_argument(
        "--authority", metavar="NAME", help="whose names studies and measures are; else the domain of this site"
    )


def run(options: Namespace) -> int:
    """Import the files."""
    from provml_tools.commands.files import once
    from provml_tools.console import note
    from provml_tools.importing import read

    once(options.files)
    zone = _zone(options.timezone)
    out = Path(options.output)
    if not out.is_dir() and out.suffix not in (".h5", *_RDF):
        raise UsageError(f"{out} tells no format. End it in .h5, {', '.join(_RDF)}, or name a folder that is there.")
    if out.suffix == ".h5" and len(options.files) > 1 and not out.is_dir():
        raise UsageError("A file holds one run. Name a folder that is there, or import one file at a time.")
    documents = [read(name, zone) for name in options.files]
    if out.is_dir() or out.suffix == ".h5":
        from provml_hpc.environment.authority import site_authority

        authority = options.authority or site_authority().name
        places = [out / f"{document.path.stem}.h5" if out.is_dir() else out for document in documents]
        for document, place in zip(documents, places, strict=True):
            _write(document, place, authority)
    else:
        _convert(documents, options.output, options.files)
    for document in documents:
        for what, count in document.repairs.items():
            more = f" ({count} times)" if count > 1 else ""
            assumed = f", taken for {options.timezone or 'times of this machine'}" if "zone" in what else ""
            note(f"{document.path.name}: repaired {what}{assumed}{more}")
    return 0


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise UsageError(f"There is no time zone {name!r}. Give one such as Europe/Rome or UTC.") from None


def _write(document: Document, place: Path, authority: str) -> None:
    import numpy as np

    from provml_hpc.storage.log_format import COMMIT_ROW
    from provml_hpc.storage.place import output_of, publish, scratch_of
    from provml_hpc.storage.tables import write_file
    from provml_tools.importing import graph_of

    output = output_of(place)
    if output.exists():
        raise OutputExistsError(f"{place} is there already. Name another file with -o, or remove it first.")
    scratch = scratch_of(output)
    try:
        write_file(scratch, graph_of(document, authority), np.zeros(0, COMMIT_ROW))
        publish(scratch, output)
    finally:
        scratch.unlink(missing_ok=True)


def _convert(documents: list[Document], output_name: str, files: list[str]) -> None:
    from provml_tools.console import output
    from provml_tools.importing import nquads

    form = _RDF[Path(output_name).suffix]
    named = form not in ("ntriples", "turtle")
    texts = (text.encode() for document in documents for text in nquads(document, named))
    with output(output_name, files) as stream:
        if form in ("nquads", "ntriples"):
            stream.writelines(texts)
            return
        from provml_tools.store.embedded import oxigraph

        ox = oxigraph()
        quads = ox.parse(b"".join(texts), ox.RdfFormat.N_QUADS)
        kinds = {"turtle": ox.RdfFormat.TURTLE, "trig": ox.RdfFormat.TRIG, "jsonld": ox.RdfFormat.JSON_LD}
        ox.serialize((one.triple for one in quads) if form == "turtle" else quads, stream, kinds[form])
