"""``provml load``: runs into a store."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

HELP = "put files into a store of many runs"
DESCRIPTION = """\
Put provenance files into a store of many runs, to ask them all together: provml query --store STORE NAME.
The store is a folder, made if it is not there. A file that is loaded again replaces the earlier version of its run; a
file that has not changed costs nothing. Files that are still being written can be loaded too.

With --endpoint the files go to a server instead, over the SPARQL 1.1 Graph Store HTTP Protocol: one PUT a run. The
address is that of its Graph Store service (Oxigraph: /store, Virtuoso: /sparql-graph-crud-auth, Fuseki: /DATASET/data).
If it wants a password: PROVML_ENDPOINT_USER and PROVML_ENDPOINT_PASSWORD in the environment, or netrc."""
EXAMPLES = """\
examples:
  provml load runs.store curation.h5 preparation.h5 learning.h5
  provml query --store runs.store compare-trainings
  provml load --endpoint http://localhost:7878/store learning.h5
  provml query --endpoint http://localhost:7878/query compare-trainings"""


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    parser.usage = "provml load STORE FILE...\n       provml load --endpoint URL FILE..."
    parser.add_argument("files", nargs="+", metavar="STORE FILE", help="the folder of the store, then the files")
    parser.add_argument("--endpoint", metavar="URL", help="the Graph Store service to load into, instead of a folder")


def run(options: Namespace) -> int:
    """Load the files one after another."""
    from provml_hpc.errors import UsageError
    from provml_tools.commands.files import once
    from provml_tools.store.loading import load_endpoint, load_store

    words = options.files
    if options.endpoint is not None:
        counts = load_endpoint(options.endpoint, once(words))
    else:
        if words[0].endswith((".h5", ".partial")):
            raise UsageError(f"{words[0]} is a file, and a store is a folder. Name the store before the files.")
        if len(words) < 2:
            raise UsageError("No file is given. Name the files after the store: provml load STORE FILE...")
        counts = load_store(words[0], once(words[1:]))
    sys.stdout.write(", ".join(f"{count} {what}" for what, count in counts.items() if count) + "\n")
    return 0
