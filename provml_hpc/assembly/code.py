"""Which code ran in each attempt of a run, which packages it needed, and which knobs it has."""

from __future__ import annotations

from collections.abc import Mapping

from provml_hpc import identity
from provml_hpc.assembly.activities import Activities
from provml_hpc.assembly.builder import Builder
from provml_hpc.assembly.graph import RunInfo

INTERACTIVE = "interactive session"
"""What code is called that no script holds: typed at a prompt, in a notebook, given to ``python -c``."""


def say_code(
    run: RunInfo,
    build: Builder,
    activities: Activities,
    facts: Mapping[int, dict[str, str]],
    packages: Mapping[int, dict[str, str]],
) -> None:
    """Say the Implementation of each attempt, with the Software it requires.

    Parameters
    ----------
    run, build, activities
        The run, with its stages, algorithms and hyperparameters in the builder already.
    facts
        For each attempt its facts of scope ``run``, by name.
    packages
        For each attempt the version of each package.
    """
    for attempt, known in sorted(facts.items()):
        code = _implementation(run, build, attempt, known)
        if code is None:
            continue
        for name, number in packages.get(attempt, {}).items():
            package = identity.named("python", "Software", name, number)
            build.node("Software", package, label=name, version=number)
            build.relate("requires", code, package)
        for stage in sorted(set(activities.stage_of.values())):
            if build.row(stage)["attempt"] == attempt:
                build.relate("executes", stage, code)
        for algorithm in build.uuids("Algorithm"):
            build.relate("implements", code, algorithm)
        for cls in ("LearningHyperparameter", "ModelHyperparameter"):
            for knob in build.uuids(cls):
                build.relate("hasHyperParameter", code, knob)


def _implementation(run: RunInfo, build: Builder, attempt: int, facts: dict[str, str]) -> str | None:
    """Return the code of an attempt; None before it is known, since its version is what it is known by."""
    if not facts.keys() & {"code.dirty", "code.reason"}:
        return None
    script = facts.get("command.script", "").rpartition("/")[2]
    if not script:  # typed at a prompt: no other run's can be told to be the same, but it needed packages too
        uuid = identity.local(run.uuid, "implementation", attempt)
        return build.node("Implementation", uuid, label=INTERACTIVE, version="")
    version, digest = facts.get("code.commit", ""), facts.get("command.script_sha256", "")
    clean = version and facts.get("code.dirty") == "false" and facts.get("code.script_tracked") != "false"
    if not clean:
        version = f"{version}+sha256:{digest}".lstrip("+") if digest else ""
    if version:
        uuid = identity.named(run.authority, "Implementation", script, version)
    else:  # nobody can tell whether another run's is the same
        uuid = identity.local(run.uuid, "implementation", attempt)
    return build.node("Implementation", uuid, label=script, version=version)
