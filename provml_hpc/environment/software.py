"""What a run's software comes from: modules that are loaded, the container it is in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from provml_hpc.environment.facts import Fact
from provml_hpc.environment.redaction import redact_text

_ROOT = Path("/")
# The container's runtime and the variables that name its image, the nearest to the image first.
_RUNTIMES = (
    ("apptainer", ("APPTAINER_CONTAINER", "APPTAINER_NAME")),
    ("singularity", ("SINGULARITY_CONTAINER", "SINGULARITY_NAME")),
    ("shifter", ("SHIFTER_IMAGEREQUEST", "SHIFTER_IMAGE")),
    ("enroot", ("ENROOT_ROOTFS", "ENROOT_IMAGE")),
    ("charliecloud", ("CH_RUNNING",)),
)


def software_facts(environ: Mapping[str, str] | None = None, root: Path = _ROOT) -> list[Fact]:
    """Describe modules and container.

    Parameters
    ----------
    environ, root
        The variables, and where the file system begins; those of the process by default.
    """
    environ = os.environ if environ is None else environ
    facts = []
    modules = environ.get("LOADEDMODULES", "")
    if modules:
        # Module names are divided by colons, which a secret's name is followed by, too.
        facts.append(Fact("software.modules", ":".join(map(redact_text, modules.split(":")))))
    runtime, image = _container(environ, root)
    if runtime:
        facts.append(Fact("software.container_runtime", runtime))
    if image:
        facts.append(Fact("software.container", redact_text(image)))
    return facts


def _container(environ: Mapping[str, str], root: Path) -> tuple[str, str]:
    """Return the runtime and the image of the container, as far as they are told; empty texts outside of one."""
    for runtime, names in _RUNTIMES:
        image = next((environ[name] for name in names if environ.get(name)), "")
        if image:
            return runtime, "" if names == ("CH_RUNNING",) else image
    podman = _read(root / "run" / ".containerenv")
    if podman is not None:
        told = re.search(r'^image="([^"\n]*)"', podman, re.MULTILINE)
        return "podman", told[1] if told else ""
    if (root / ".dockerenv").exists():
        return "docker", ""  # which tells a container nothing of its image
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes", ""
    return "", ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace")[:65536]
    except OSError:
        return None
