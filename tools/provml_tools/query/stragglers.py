"""Which ranks held the others up, section by section."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import mean, median

from provml_tools.query.answer import Answer, Options, when
from provml_tools.query.engine import Engine, Iri, Row
from provml_tools.query.named import NamedQuery
from provml_tools.query.progress import section_path

_OFTEN = 0.5
"""A rank is persistently slow if it was the slowest in more than this share of the sections, and in three at least."""
_NOTICEABLE = 1.05
"""A rank that takes less than this many times the median is not called slow."""


def stragglers(engine: Engine, query: NamedQuery, options: Options) -> Answer:
    """Return the times of the ranks in each section that they shared, and name ranks that are slow again and again."""
    columns = ["training", "section", "ranks", "mean s", "median s", "slowest s", "slowest rank", "slowest / median"]
    answer = Answer([*columns, "started", "iri"], [], query.title, shown=columns)
    sections: dict[str, list[Row]] = defaultdict(list)
    for row in engine.select(query.bind(options.values)):
        sections[str(row["section"])].append(row)
    frames = {
        iri: {"what": rows[0]["sectionKind"], "value": rows[0]["sectionIndex"], "within": rows[0]["within"], "name": ""}
        for iri, rows in sections.items()
    }
    slowest: dict[str, Counter[int]] = defaultdict(Counter)
    counts: Counter[str] = Counter()
    for iri, rows in sections.items():
        spent: dict[int, float] = defaultdict(float)
        for row in rows:
            start, end, rank = row["started"], row["ended"], row["rank"]
            if isinstance(start, int) and isinstance(end, int) and isinstance(rank, int):
                spent[rank] += (end - start) / 1e9
        if len(spent) < 2:
            continue
        slow = max(spent, key=lambda rank: (spent[rank], -rank))
        middle = median(spent.values())
        ratio = spent[slow] / middle if middle > 0 else None
        training = str(rows[0]["name"])
        counts[training] += 1
        if ratio is not None and ratio >= _NOTICEABLE:
            slowest[training][slow] += 1
        answer.rows.append(
            {
                "training": training,
                "section": section_path(iri, frames),
                "ranks": len(spent),
                "mean s": mean(spent.values()),
                "median s": middle,
                "slowest s": spent[slow],
                "slowest rank": slow,
                "slowest / median": ratio,
                "started": when(rows[0]["began"]),
                "iri": Iri(iri),
            }
        )
    for training, found in slowest.items():
        for rank, times in found.most_common():
            if times >= 3 and times > _OFTEN * counts[training]:
                share = f"{times} of {counts[training]} sections of {training}"
                answer.notes.append(f"rank {rank} is persistently slow: the slowest in {share}")
    if answer.rows and not answer.notes:
        answer.notes.append("no rank is persistently slow")
    if not answer.rows:
        answer.notes.append("no section was shared by two ranks or more")
    return answer
