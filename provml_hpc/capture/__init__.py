"""Capture: runs, activities and entities. The one place where journal, transport and storage meet."""

from __future__ import annotations

from provml_hpc.capture.activity import Activity, Section
from provml_hpc.capture.entity import Entity
from provml_hpc.capture.run import Run, init

__all__ = ["Activity", "Entity", "Run", "Section", "init"]
