"""An OWL 2 DL reasoner for tests: HermiT, which the package owlready2 ships, on a Java runtime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pyoxigraph as ox
import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "ontologies"
"""PROV-O and the strict ML-Schema file. They are no part of the product and lie beside a checkout, if anywhere."""
PROV_O = REFERENCE / "w3c-ns" / "prov-o.ttl"
ML_SCHEMA = REFERENCE / "ml-schema" / "MLSchema.ttl"
OURS = ROOT / "docs" / "ontology" / "provml.ttl"
ALIGNMENT = ROOT / "docs" / "ontology" / "mls-prov-alignment.ttl"

needs_reference = pytest.mark.skipif(
    not (PROV_O.is_file() and ML_SCHEMA.is_file()),
    reason=f"no PROV-O or ML-Schema: save www.w3.org/ns/prov-o.ttl as {PROV_O}, "
    f"and MLSchema.ttl of github.com/ML-Schema/core as {ML_SCHEMA}",
)


def _hermit() -> str | None:
    spec = find_spec("owlready2")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "hermit"
    return f"{folder}{os.pathsep}{folder / 'HermiT.jar'}" if (folder / "HermiT.jar").is_file() else None


needs_reasoner = pytest.mark.skipif(
    shutil.which("java") is None or _hermit() is None,
    reason="no Java runtime, or no owlready2: apt-get install default-jre-headless; pip install owlready2",
)

# HermiT knows seconds to the millisecond only, and refuses the nanoseconds that XML Schema allows.
_FINE = re.compile(r"(T\d\d:\d\d:\d\d\.\d{3})\d+Z\"")


def turtle(path: Path) -> set[ox.Triple]:
    """Read a file of Turtle; its blank nodes get names of their own."""
    return {
        quad.triple
        for quad in ox.parse(path=path, format=ox.RdfFormat.TURTLE, base_iri="urn:x:", rename_blank_nodes=True)
    }


def text(words: str) -> set[ox.Triple]:
    """Read Turtle from text, times cut to what HermiT reads."""
    words = _FINE.sub(r'\1Z"', words)
    return {quad.triple for quad in ox.parse(words, format=ox.RdfFormat.TRIG, rename_blank_nodes=True)}


def theory() -> set[ox.Triple]:
    """Return PROV-O, ML-Schema, the alignment and our ontology."""
    return set().union(*(turtle(path) for path in (PROV_O, ML_SCHEMA, ALIGNMENT, OURS)))


def is_consistent(triples: Iterable[ox.Triple], folder: Path) -> bool:
    """Ask HermiT; raise if it gives no answer."""
    classpath = _hermit()
    assert classpath
    path = folder / "all.owl"
    with path.open("wb") as stream:
        ox.serialize(triples, stream, format=ox.RdfFormat.RDF_XML)
    command = ["java", "-Xmx2g", "-cp", classpath, "org.semanticweb.HermiT.cli.CommandLine", "-k", path.as_uri()]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
    if "Thing is satisfiable" in said.stdout:
        return True
    if "InconsistentOntologyException" in said.stdout or "Thing is not satisfiable" in said.stdout:
        return False
    raise AssertionError(said.stdout[:2000])
