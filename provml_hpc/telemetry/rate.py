"""How often to sample, as a user says it."""

from __future__ import annotations

import os

from provml_hpc.errors import UsageError

VARIABLE = "PROVML_TELEMETRY"
"""What ``init`` goes by where nobody said anything: a number of hertz, ``on`` or ``off``."""
DEFAULT_HZ, MOST_HZ = 1.0, 10.0

_WORDS = {"on": 1.0, "true": 1.0, "yes": 1.0, "off": 0.0, "false": 0.0, "no": 0.0, "": DEFAULT_HZ}


def parse_rate(given: bool | float | None) -> float:
    """Return how often to sample, in hertz; 0 for never.

    Parameters
    ----------
    given
        True (once a second), False, or a number of hertz up to 10. None takes the variable ``PROVML_TELEMETRY``, and
        once a second without it.

    Raises
    ------
    UsageError
        It is none of these.

    Examples
    --------
    >>> parse_rate(True), parse_rate(False), parse_rate(0.2)
    (1.0, 0.0, 0.2)
    """
    said = f"telemetry={given!r}"
    if given is None:
        text = os.environ.get(VARIABLE, "").strip().lower()
        said = f"{VARIABLE}={text!r}"
        if text in _WORDS:
            return _WORDS[text]
        try:
            rate = float(text)
        except ValueError:
            raise UsageError(f"{said} is no rate; set it to a number of hertz, to on or to off") from None
    elif isinstance(given, bool):
        return DEFAULT_HZ if given else 0.0
    else:
        try:
            rate = float(given)
        except (TypeError, ValueError):
            raise UsageError(f"{said} is no rate; give a number of hertz, or True or False") from None
    if not 0 <= rate <= MOST_HZ:
        raise UsageError(f"{said} is no rate; give a number of hertz from 0 to {MOST_HZ:g}")
    return rate
