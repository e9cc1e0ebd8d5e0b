"""RDF of a run's graph: `convert` writes it, `nquads` and `quads` give it to a store. See ``docs/rdf.md``."""

from __future__ import annotations

from provml_tools.rdf.formats import FORMATS, convert, nquads, quads
from provml_tools.rdf.mapping import statements
from provml_tools.rdf.terms import ADDED, class_types, companion, provml_terms

__all__ = ["ADDED", "FORMATS", "class_types", "companion", "convert", "nquads", "provml_terms", "quads", "statements"]
