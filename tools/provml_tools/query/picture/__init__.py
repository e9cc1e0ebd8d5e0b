"""The lineage of a model as a picture: text for Graphviz, or SVG that needs no other program.

`draw` says what is in the picture, `layout` where it stands, `as_svg` and `as_dot` write it.
"""

from __future__ import annotations

from provml_tools.query.picture.dot import as_dot
from provml_tools.query.picture.drawing import Box, Drawing, Lane, draw
from provml_tools.query.picture.svg import as_svg

__all__ = ["FORMATS", "Box", "Drawing", "Lane", "as_dot", "as_svg", "draw"]

FORMATS = {"dot": as_dot, "svg": as_svg}
"""How a drawing becomes text, by the name of the format."""
