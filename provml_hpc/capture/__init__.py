"""Capture: runs, activities and entities. The one place where journal, transport and storage meet.

What a user holds is a `run`, an `activity` or an `entity`. An activity is opened (`opening`, `distinct`), logs
(`statements`, `people`), names data (`data`) and has its place in the tree (`node`). At every step it comes to
`samples` and, on the hot path, to `recorder`; to `inert` where nothing is recorded.

A run begins by `claiming` its output. One rank's side of it is its `session`: where its journal lies (`places`), what
surrounds it (`facts`, `clocks`, `sampling`), which files are digested and described (`digests`, `describer`), what was
lost and what it cost (`losses`, `own_cost`). A flush point is `flush_point`, with `intake` and `disagreements`
on the writer rank.

A run ends by `ending`: left open, by `guard`; told to stop, by `signals`, `watcher` and `survivor`. It goes on
without ranks that are gone by `rebinding` and `adoption`, and where no MPI joins its ranks, `apart`.
"""

from __future__ import annotations

from provml_hpc.capture.activity import Activity, Section
from provml_hpc.capture.entity import Entity
from provml_hpc.capture.run import Run, init

__all__ = ["Activity", "Entity", "Run", "Section", "init"]
