"""A drawing as text for Graphviz: ``provml query ... --format dot | dot -Tpdf``."""

from __future__ import annotations

from provml_tools.query.picture.drawing import Box, Drawing
from provml_tools.query.picture.svg import COLOURS, LANES, TIMES, TINTS, said


def as_dot(drawing: Drawing) -> str:
    """Return a drawing in the DOT language, a cluster for each job."""
    lines = [
        "digraph lineage {",
        f"  label={_quoted('What ' + drawing.title + ' came from')}; labelloc=t; fontsize=16;",
        '  graph [rankdir=TB, nodesep=0.25, ranksep=0.45, fontname="Helvetica", style="rounded,filled", color=white];',
        '  node [fontname="Helvetica", fontsize=10, margin="0.15,0.08"];',
        '  edge [color="#8794a3", arrowsize=0.6];',
    ]
    for number, lane in enumerate(drawing.lanes):
        label = "\n".join(filter(None, (lane.name, lane.phase, lane.who, lane.when)))
        lines += [
            f"  subgraph cluster_{number} {{",
            f'    label={_quoted(label)}; labeljust=l; fillcolor="{LANES.get(lane.phase, "#f6f6f7")}";',
            *(f"    {_node(at, box)}" for at, box in enumerate(drawing.boxes) if box.lane == number),
            "  }",
        ]
    lines += [f"  n{one} -> n{other};" for one, other in drawing.arrows]
    return "\n".join([*lines, "}\n"])


def _node(number: int, box: Box) -> str:
    title = f"{box.title}  {TIMES}{box.count}" if box.count > 1 else box.title
    details = ", ".join(f"{name}={said(value)}" for name, value in list(box.details.items())[:6])
    label = "\n".join(filter(None, (title, box.what, details[:100])))
    style = "filled,rounded" if box.is_activity else "filled"
    width = 2.2 if box.start else 1.1
    edges = ", peripheries=2" if box.count > 1 else ""
    return (
        f'n{number} [label={_quoted(label)}, shape=box, style="{style}", color="{COLOURS[box.kind]}", '
        f'fillcolor="{TINTS[box.kind]}", penwidth={width:g}{edges}];'
    )


def _quoted(text: str) -> str:
    """Return a quoted string of DOT; no text can close it, nor be taken for an escape of Graphviz."""
    clean = "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in text.encode("utf-8", "replace").decode()
    )
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
