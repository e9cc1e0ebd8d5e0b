"""The published ontology: OWL, SHACL shapes and a page, all written from the vocabulary.

``python -m provml_tools.ontology docs/ontology`` writes the files anew; with ``--check`` it only tells, by its exit
status, whether they are up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from provml_tools.ontology import owl, page, shacl

FILES: dict[str, Callable[[], str]] = {"provml.ttl": owl.render, "shapes.ttl": shacl.render, "index.md": page.render}
"""The published files, and what writes each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m provml_tools.ontology", description=__doc__)
    parser.add_argument("folder", type=Path, help="usually docs/ontology")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    options = parser.parse_args(arguments)
    stale = []
    for name, render in FILES.items():
        path: Path = options.folder / name
        new = render()
        if not path.exists() or path.read_text("utf-8") != new:
            stale.append(str(path))
            if not options.check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(new, "utf-8")
    if stale and options.check:
        print(f"{', '.join(stale)}: out of date: python -m provml_tools.ontology {options.folder}", file=sys.stderr)
        return 1
    return 0
