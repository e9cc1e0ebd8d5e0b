"""What is in a file, as one dict for programs and one screen for people."""

from __future__ import annotations

from provml_tools.info.description import as_json, collect
from provml_tools.info.screen import show

__all__ = ["as_json", "collect", "show"]
