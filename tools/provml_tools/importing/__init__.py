"""PROV-JSON of other trackers, repaired: into RDF, or into a file as a run writes it. See ``docs/export.md``."""

from __future__ import annotations

from provml_tools.importing.dialects import graph_of
from provml_tools.importing.repair import Document, read
from provml_tools.importing.triples import nquads

__all__ = ["Document", "graph_of", "nquads", "read"]
