"""Questions about one or many runs: named ones, and any in SPARQL.

`Engine` holds the runs in memory; `ask` answers a named question, `free` a text in SPARQL, both with an `Answer` that
`provml_tools.query.tables` prints.

A question is a file (`named`) that the `engine` asks, and a function that makes an `answer` of its rows: in
`trainings` and `cost`, `progress` and `stragglers`, `lineage`, `models` and `about`. What they share is below them:
`provenance` follows the `relations` of `things`, `folding` puts alike ones together and `picture` draws them;
`measured` and `measures` tell what is good, `people` who did it, `samples` and `ranks` what only HDF5 holds.

Examples
--------
>>> from provml_tools.query import Engine, ask
>>> ask(Engine([]), "compare-trainings").rows
[]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from provml_tools.query import about, cost, lineage, models, progress, stragglers, trainings
from provml_tools.query.answer import Answer, Options
from provml_tools.query.engine import Engine
from provml_tools.query.named import NamedQuery, catalog, find

__all__ = ["Answer", "Engine", "ask", "catalog", "find", "free"]

_THEN: dict[str, Callable[[Engine, NamedQuery, Options], Answer]] = {
    "trainings": trainings.compare,
    "best model": models.best_model_data,
    "lineage": lineage.model_lineage,
    "impact": lineage.data_impact,
    "progress": progress.progress,
    "who": about.who,
    "reproduce": about.reproduce,
    "checkpoints": about.checkpoints,
    "stragglers": stragglers.stragglers,
    "cost": cost.cost,
}


def ask(engine: Engine, name: str, values: Mapping[str, str] | None = None) -> Answer:
    """Answer a named question.

    Parameters
    ----------
    engine
        The runs.
    name
        One of `catalog`.
    values
        Its parameters, for example ``{"study": "netherlands-f3"}``.

    Raises
    ------
    UsageError
        No such question, or it has no such parameter.
    """
    query = find(name)
    given = dict(values or {})
    query.bind(given)
    return _THEN[query.then](engine, query, Options(given))


def free(engine: Engine, text: str) -> Answer | bool:
    """Answer a SELECT, CONSTRUCT or DESCRIBE query with a table, an ASK query with its truth.

    Raises
    ------
    UsageError
        The text is no such query.
    """
    found = engine.ask(text)
    if isinstance(found, bool):
        return found
    columns, rows = found
    return Answer(columns, [dict(zip(columns, row, strict=True)) for row in rows])
