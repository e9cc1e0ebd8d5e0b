"""``provml export``: a run in the formats of other tools."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "write a file in a format of other tools"
DESCRIPTION = """\
Write the run in a file in a format of other tools. What a format cannot carry is said once; docs/export.md has it all.
  prov-json, prov-n, prov-jsonld, prov-xml    one file: the W3C's serialisations of PROV (RDF: see provml convert)
  crate      a folder: a Process Run Crate 0.5 on RO-Crate 1.1, with a copy of the file
  parquet    a folder: a Parquet file for each table and for the samples, for DuckDB, polars, pandas, Spark"""
EXAMPLES = """\
examples:
  provml export facies.h5 --to prov-json -o facies.json
  provml export facies.h5 --to crate -o facies-crate --license https://creativecommons.org/licenses/by/4.0/
  provml export facies.h5 --to parquet -o facies-tables
  duckdb -c "SELECT step, avg(loss) FROM 'facies-tables/samples/*.parquet' GROUP BY step ORDER BY step\""""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    from provml_tools.export import FORMATS

    parser.add_argument("file", metavar="FILE", help="a file that a run wrote, or still writes")
    parser.add_argument("--to", required=True, choices=list(FORMATS), help="the format to write")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file, which replaces one that is there once it is whole (standard output if not given); "
        "for crate and parquet a new folder",
    )
    parser.add_argument("--license", metavar="URL", help="crate: the licence of what is described")


def run(options: Namespace) -> int:
    """Export the file."""
    from provml_hpc.errors import UsageError
    from provml_hpc.storage import reader
    from provml_tools.console import note, output
    from provml_tools.export import FORMATS, crate, document, parquet
    from provml_tools.export.folder import new_folder

    form = FORMATS[options.to]
    if form.folder and options.output in (None, "-"):
        raise UsageError(f"{form.name} is a folder. Name it with -o.")
    if options.license is not None and form.name != "crate":
        raise UsageError("--license belongs to --to crate. Leave it out.")
    with reader.open(options.file) as file:
        if form.name == "crate":
            with new_folder(options.output) as folder:
                crate.write(file.graph, file.paths, folder, options.license)
        elif form.name == "parquet":
            with new_folder(options.output) as folder:
                parquet.write(file.graph, folder)
        else:
            with output(options.output, [options.file]) as stream:
                document.write(file.graph, stream, form.name)
    if form.left_out:
        note(f"{form.name}: {form.left_out}")
    return 0
