"""Which measures are better when lower, and how trainings are put in order by one."""

from __future__ import annotations

import re
from typing import Any

from provml_hpc.errors import UsageError

_WORDS = """aic bce bic brier cer cost crossentropy deviance deviation distance divergence duration energy entropy err
error errors fid hinge kl kld latency loss losses mae mape misfit mismatch mse msle nll penalty perplexity ppl regret
residual residuals rmse rmsle seconds time variance wer"""
_LOWER = frozenset(_WORDS.split())
_ENDINGS = ("loss", "error", "mse", "mae", "entropy", "perplexity", "misfit", "regret", "divergence")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def lower_is_better(measure: str) -> bool:
    """Tell by the words of a measure's name whether less is better: losses, errors, distances, costs and durations.

    Examples
    --------
    >>> [lower_is_better(name) for name in ("val_loss", "logloss", "RMSE", "accuracy", "f1")]
    [True, True, True, False, False]
    """
    words = [word.lower() for word in _WORD.findall(measure)]
    return any(word in _LOWER or word.endswith(_ENDINGS) for word in words)


def is_lower_better(measure: str, direction: str | None) -> bool:
    """Apply what the user said about the direction, or else the rule by name."""
    if direction is None:
        return lower_is_better(measure)
    if direction not in ("higher", "lower"):
        raise UsageError(f"--direction is {direction!r}. Give 'higher' or 'lower'.")
    return direction == "lower"


def sort_key(value: Any, lower: bool) -> tuple[int, float]:
    """Return a key that puts better values first, and what is no number last."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return (1, 0.0)
    return (0, float(value) if lower else -float(value))


def deciding(columns: dict[str, int], wanted: str | None) -> str | None:
    """Choose the column of the measure that decides.

    Parameters
    ----------
    columns
        Each measure's column and how many trainings have it, columns of the most telling source first.
    wanted
        What the user named: a column or the name of a measure.

    Raises
    ------
    UsageError
        No such measure was taken.
    """
    if wanted is not None:
        validated = f"validation {wanted}"
        # Where all have it, a validation tells more of a model than its own training does.
        if validated in columns and columns[validated] >= columns.get(wanted, 0):
            return validated
        if wanted in columns:
            return wanted
        for name in columns:
            if name.endswith(f" {wanted}"):
                return name
        known = ", ".join(columns) or "none"
        raise UsageError(f"No measure is called {wanted!r}. Measured were: {known}. Name one of them with --measure.")
    if not columns:
        return None
    most = max(columns.values())
    often = [name for name, count in columns.items() if count == most]
    return min(often, key=lambda name: (lower_is_better(name), not name.startswith("validation "), often.index(name)))
