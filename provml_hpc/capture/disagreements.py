"""What ranks did differently where they were expected to do the same, in a sentence for the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 3
"""How many disagreements a warning names; the file lists all."""


def sentence(disagreements: Sequence[Mapping[str, Any]]) -> str:
    """Return what a run says of its disagreements; empty if there are none.

    Parameters
    ----------
    disagreements
        As the assembly lists them in the details of a run: about ``"parameters"`` with `ranks` (a list of ranks a
        group), or about ``"count"`` with `groups` (a count and its ranks each).

    Examples
    --------
    >>> sentence([{"about": "count", "name": "epoch", "groups": [{"count": 2, "ranks": [0]}]}])[:49]
    "ranks disagree in the number of 'epoch' (2 on 0);"
    """
    if not disagreements:
        return ""
    told = [_one(disagreement) for disagreement in disagreements[:SHOWN]]
    more = f" and in {len(disagreements) - SHOWN} more" if len(disagreements) > SHOWN else ""
    return (
        f"ranks disagree {', '.join(told)}{more}; each is recorded as it was, and the file lists them. "
        "Give local=True to what each rank does for itself, or a key to what belongs together"
    )


def _one(disagreement: Mapping[str, Any]) -> str:
    name = f"{disagreement.get('name', '')!r:.60}"
    if disagreement.get("about") == "parameters":
        return f"in the parameters of {name} ({' / '.join(map(_ranks, disagreement['ranks']))})"
    groups = [f"{group['count']} on {_ranks(group['ranks'])}" for group in disagreement.get("groups", ())]
    return f"in the number of {name} ({', '.join(groups)})"


def _ranks(ranks: Sequence[int]) -> str:
    shown = ",".join(map(str, ranks[:4]))
    return f"{shown},..." if len(ranks) > 4 else shown
