"""Facts of a run, found once: code version, packages, host, MPI, scheduler and naming authority.

Nothing here raises, talks to a network, starts a program, or takes the environment wholesale; only
:mod:`~provml_hpc.environment.asking`, for the rank that writes alone, asks Slurm's own program. A fact that cannot be
found is absent, or a fact that ends with ``.reason`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import Literal

from provml_hpc.environment.authority import Authority, site_authority
from provml_hpc.environment.facts import Fact
from provml_hpc.environment.redaction import redact_arguments, redact_text

__all__ = ["Authority", "Fact", "Scope", "collect", "prepare", "redact_arguments", "redact_text", "site_authority"]

Scope = Literal["run", "node", "rank"]

_OF_A_RUN = [
    "accelerators",
    "asking",
    "code",
    "host",
    "launcher",
    "mpi",
    "packages",
    "recording",
    "scheduler",
    "software",
]


def prepare() -> None:
    """Import what :func:`collect` needs for a run: for who lets a thread do that and wants no imports in it."""
    import_module("hashlib")
    for name in _OF_A_RUN:
        import_module(f"{__name__}.{name}")


def collect(scope: Scope, record: Collection[str] = ()) -> list[Fact]:
    """Find the facts of one scope.

    Parameters
    ----------
    scope
        ``"run"``: what is the same on all ranks, so that one rank finds it once (it lists the installed packages and
        looks at every tracked file of the code's repository, which takes up to two seconds). ``"node"``: what is the
        same for all ranks of a node. ``"rank"``: what belongs to this process alone; cheap.
    record
        What is told besides, though it may hold secrets: see :mod:`provml_hpc.environment.recording`.

    Returns
    -------
    list of Fact
        In a stable order, each name once.

    Examples
    --------
    >>> [fact.name for fact in collect("rank")][:1]
    ['process.id']
    """
    # Imported here, because most ranks never ask for the run's facts and the start of every rank is paid by all.
    from provml_hpc.environment import accelerators, host, launcher, mpi, scheduler

    finders: list[tuple[str, Callable[[], list[Fact]]]]
    if scope == "run":
        from provml_hpc.environment import authority, code, packages, recording, software

        finders = [
            ("run", lambda: host.run_facts(words=recording.ARGUMENTS in record)),
            ("launcher", launcher.launch_facts),
            ("software", software.software_facts),
            ("accelerator", accelerators.library_facts),
            ("code", lambda: code.code_facts(diff=recording.DIFF in record)),
            ("scheduler", scheduler.job_facts),
            ("mpi", mpi.library_facts),
            ("authority", authority.authority_facts),
            ("package", packages.package_facts),
        ]
        if recording.ENVIRONMENT in record:
            finders.append(("environment", recording.environment_facts))
    elif scope == "node":
        finders = [
            ("host", host.node_facts),
            ("driver", accelerators.driver_facts),
            ("scheduler", scheduler.node_facts),
        ]
    else:
        finders = [("process", host.rank_facts), ("mpi", mpi.rank_facts)]
    facts: list[Fact] = []
    for group, find in finders:
        try:
            facts.extend(find())
        except Exception as error:  # a fact that is missing is better than a training that is stopped for it
            facts.append(Fact(f"{group}.reason", f"{type(error).__name__}: {error}"))
    return facts
