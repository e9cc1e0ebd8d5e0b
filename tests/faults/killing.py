"""Ends this very process at a named call. The product has no hooks for it: its functions are wrapped from outside."""

from __future__ import annotations

import importlib
import json
import os
import signal
from dataclasses import asdict, dataclass
from typing import Any

VARIABLE = "FAULT_PLAN"
WRITERS = "FAULT_WRITERS"


def writers() -> int:
    """Return how many ranks of a job are to write."""
    return int(os.environ.get(WRITERS, "1"))


@dataclass(frozen=True)
class Plan:
    """When a process dies.

    Parameters
    ----------
    phase
        What people call the moment.
    target
        ``module:attribute.path`` of a function, as its caller finds it; empty for a moment of the clock.
    call
        The call of it that is the last one, from 1.
    after
        Whether it dies when the call has returned, and not before it begins.
    rank
        The rank that dies; -1 for any, -2 for all.
    delay_s
        Without a target: seconds after which the kernel ends the process, wherever it is.
    """

    phase: str
    target: str = ""
    call: int = 1
    after: bool = False
    rank: int = 0
    delay_s: float = 0.0

    def text(self) -> str:
        """Return it in the form that :func:`arm` reads."""
        return json.dumps(asdict(self))


def find(target: str) -> tuple[Any, str]:
    """Return what owns the target of a plan, and its name there.

    Raises
    ------
    AttributeError, ImportError
        There is no such function any more.
    """
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    getattr(owner, name)
    return owner, name


def arm(rank: int = 0, text: str | None = None) -> Plan | None:
    """Have this process die as the plan in the environment says, if it is the one that the plan means."""
    text = os.environ.get(VARIABLE) if text is None else text
    if not text:
        return None
    plan = Plan(**json.loads(text))
    if plan.rank not in (rank, -2):
        return None
    if not plan.target:
        # The default action of SIGALRM ends the process in the kernel, between any two instructions.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(plan.delay_s, 1e-6))
        return plan
    owner, name = find(plan.target)
    original = getattr(owner, name)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == plan.call and not plan.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == plan.call and plan.after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)
    return plan
