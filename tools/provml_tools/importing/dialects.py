"""Which tracker wrote a document, and so how it is read."""

from __future__ import annotations

from provml_hpc.assembly.graph import Graph
from provml_tools.importing import dlprov, generic, yprov
from provml_tools.importing.mapping import Run
from provml_tools.importing.repair import Document


def graph_of(document: Document, authority: str) -> Graph:
    """Return a document as the graph of one run.

    The identity of all that is in it comes from the bytes of the file: importing it twice gives the same run.

    Parameters
    ----------
    document
        What was read.
    authority
        Whose names studies, measures and the like are.
    """
    run = Run(document, authority)
    for dialect in (dlprov, yprov):
        if dialect.speaks(document):
            dialect.take(document, run)
            return run.graph(dialect.NAME)
    generic.take(document, run)
    return run.graph(generic.NAME)
