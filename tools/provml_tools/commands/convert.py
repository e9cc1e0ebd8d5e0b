"""``provml convert``: files as RDF."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "turn files into RDF"
DESCRIPTION = """\
Turn provenance files into RDF: W3C PROV joined with PROV-ML and ML-Schema.
N-Quads, TriG and JSON-LD have one named graph a run; N-Triples and Turtle hold the same triples without graph names.
The same files give the same bytes each time. Files that are still being written can be converted too."""
EXAMPLES = """\
examples:
  provml convert facies.h5 --to turtle -o facies.ttl
  provml convert curation.h5 preparation.h5 learning.h5 --to nquads | gzip > study.nq.gz
  provml convert facies.h5 --to jsonld --base https://example.org/provenance/
  provml convert facies.h5 --to ntriples --samples -o all.nt      every logged sample too: large"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file that a run wrote, or still writes")
    parser.add_argument(
        "--to", required=True, choices=["nquads", "ntriples", "turtle", "trig", "jsonld"], help="the format to write"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="write to this file, which replaces one that is there once it is whole; standard output if not given",
    )
    parser.add_argument("--samples", action="store_true", help="write every logged sample too, not only its summary")
    parser.add_argument("--base", metavar="IRI", help="what identifiers are put behind (default: urn:uuid:)")


def run(options: Namespace) -> int:
    """Convert the files one after another, each read when its turn comes."""
    from provml_tools.commands.files import in_turn
    from provml_tools.console import output, progress
    from provml_tools.rdf import convert

    with progress("converting", len(options.files)) as done, output(options.output, options.files) as stream:
        convert(in_turn(options.files, done), stream, options.to, options.base, options.samples)
    return 0
