"""The validator of RO-Crates, run without a network."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import requests

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


def checker(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], list[str]]:
    """Return a check of a crate, at a severity, by the validator with the context of the package rocrate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rocrate_validator import models, services

    context = (resources.files("rocrate") / "data" / "ro-crate.jsonld").read_bytes()

    def send(self: Any, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        if request.url != CONTEXT:
            raise requests.ConnectionError(f"no network here for {request.url}")
        response = requests.Response()
        response.status_code, response.url, response.request = 200, CONTEXT, request
        response.headers["Content-Type"] = "application/ld+json"
        response.raw = io.BytesIO(context)
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)

    def check(folder: Path, severity: str) -> list[str]:
        settings = services.ValidationSettings(
            rocrate_uri=str(folder),
            profile_identifier="process-run-crate-0.5",
            requirement_severity=models.Severity[severity],
            no_cache=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = services.validate(settings)
        assert result.executed_checks, "nothing was checked"
        return sorted({f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()})

    return check
