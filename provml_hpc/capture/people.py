"""Who took part in an activity, or whose work data is: what a user may write for a person, as a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provml_hpc import records
from provml_hpc.values import clean_text


def named(activity: int, persona: Any, role: str | None = None, *, entity: int = 0) -> records.Associated:
    """Return the record that names a person.

    Parameters
    ----------
    activity
        The handle of the activity where it was said; 0 for the run.
    persona
        A name, an ORCID or user@domain, or a mapping with ``name``, ``identifier``, ``role`` and, for a group or an
        institution, ``organization`` that is true.
    role
        What the person did, unless the mapping says so.
    entity
        The handle of data or a model that is the person's work; 0 if the person took part in the activity.
    """
    identifier, organization = "", False
    if isinstance(persona, Mapping):
        identifier, role = str(persona.get("identifier", "")), persona.get("role", role)
        organization = bool(persona.get("organization", False))
        persona = persona.get("name", identifier)
    name, role = clean_text(str(persona)), clean_text(str(role or ""))
    return records.Associated(activity, name, clean_text(identifier), role, entity, int(organization))
