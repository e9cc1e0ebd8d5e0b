"""Stores for many runs: one on disk that `provml load` fills, and any SPARQL 1.1 endpoint. See ``docs/stores.md``.

`RunStore` is the one on disk, `Endpoint` the one behind an address; `asking` and `asking_endpoint` give an engine that
`provml_tools.query.ask` takes like one over files.
"""

from __future__ import annotations

from provml_tools.store.embedded import RunStore
from provml_tools.store.endpoint import Endpoint
from provml_tools.store.engines import EndpointEngine, StoreEngine, asking, asking_endpoint

__all__ = ["Endpoint", "EndpointEngine", "RunStore", "StoreEngine", "asking", "asking_endpoint"]
