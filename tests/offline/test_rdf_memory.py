"""Conversion holds a piece of the text at a time, however long the text is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import io, json, resource, sys
import numpy as np
from provml_hpc.assembly.graph import Graph, RunInfo, SampleTable, Table
from provml_tools.rdf import convert

kind, format, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
nodes = rows if kind == "hub" else 2000
class Counted(io.RawIOBase):
    size = 0
    def writable(self): return True
    def write(self, data):
        self.size += len(data)
        return len(data)

uuids = [f"{at:08x}-0000-4000-8000-000000000000" for at in range(nodes)]
table = Table("Dataset", {"id": np.arange(nodes), "uuid": uuids})
place = np.random.default_rng(0).permutation(rows)
ends = {"subject": place % 2000, "object": place // 2000}
relations, samples = {}, []
if kind == "spread":
    relations["wasDerivedFrom"] = Table("wasDerivedFrom", ends)
elif kind == "hub":
    relations["hadMember"] = Table("hadMember", {"subject": place * 0, "object": place})
elif kind == "qualified":
    relations["wasGeneratedBy"] = Table("wasGeneratedBy", {k: ends[k] * 0 for k in ends} | {"time_ns": place})
elif kind == "samples":
    def read(start, stop):
        number = np.arange(start, stop)
        return {name: number * 0 for name in ("rank", "attempt", "section")} | {
            "step": number, "time_ns": number, "loss": number.astype(float)}
    samples.append(SampleTable("loss", 0, ("loss",), rows, read))
graph = Graph(RunInfo("3f0d2a44-1111-4222-8333-0123456789ab", "n", "learning"), {"Dataset": table}, relations, samples)
few = Graph(graph.run, {}, {}, [])
convert([few], Counted(), format, samples=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = Counted()
convert([graph], out, format, samples=True)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"written": out.size, "grown": (after - before) * 1024}))
"""


@pytest.mark.parametrize(
    ("kind", "format", "rows"),
    [
        ("spread", "nquads", 1_000_000),
        ("hub", "nquads", 300_000),
        ("qualified", "nquads", 200_000),
        ("samples", "nquads", 100_000),
        ("spread", "turtle", 500_000),
        ("spread", "trig", 500_000),
        ("hub", "jsonld", 200_000),
    ],
)
def test_memory_does_not_grow_with_the_text(kind: str, format: str, rows: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind, format, str(rows)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, check=True, timeout=200, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    # What may grow is a few numbers a row and the piece at hand. A statement is some 180 bytes of N-Quads, so that
    # holding the text would take twice what is allowed, or more.
    assert found["written"] > 30 * rows
    assert found["grown"] < 60 * rows + 40 * 2**20
