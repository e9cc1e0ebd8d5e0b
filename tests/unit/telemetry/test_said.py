"""What users and launchers say of sampling: how often, and on which devices."""

from __future__ import annotations

import pytest

from provml_hpc.errors import UsageError
from provml_hpc.telemetry.rate import VARIABLE, parse_rate
from provml_hpc.telemetry.visible import Seen, given, visible_devices

GPUS = [Seen(7, 0, "GPU-aa1"), Seen(9, 1, "GPU-ab2"), Seen(11, 2, "GPU-b3"), Seen(13, -1, "MIG-aa1-0")]


@pytest.mark.parametrize(("said", "hz"), [(True, 1), (False, 0), (0, 0), (10, 10), (0.25, 0.25)])
def test_a_rate_is_a_number_of_hertz_or_a_yes_or_no(said: float, hz: float) -> None:
    assert parse_rate(said) == hz


@pytest.mark.parametrize(("said", "hz"), [("", 1), ("on", 1), ("OFF", 0), ("0", 0), (" 2.5 ", 2.5)])
def test_the_variable_speaks_where_nobody_else_did(monkeypatch: pytest.MonkeyPatch, said: str, hz: float) -> None:
    monkeypatch.setenv(VARIABLE, said)
    assert parse_rate(None) == hz
    assert parse_rate(3) == 3


def test_without_the_variable_it_is_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert parse_rate(None) == 1


@pytest.mark.parametrize("said", [-1, 10.5, float("nan"), float("inf"), "often", [1]])
def test_what_is_no_rate_is_refused(said: float) -> None:
    with pytest.raises(UsageError, match="give a number of hertz"):
        parse_rate(said)


def test_a_variable_that_is_no_rate_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "always")
    with pytest.raises(UsageError, match="PROVML_TELEMETRY='always'"):
        parse_rate(None)


@pytest.mark.parametrize(
    ("text", "handles"),
    [
        ("0", [7]),
        ("2,0", [11, 7]),
        ("0-1", [7, 9]),  # as Slurm writes it
        ("1, 1", [9]),
        ("GPU-b", [11]),
        ("MIG-aa1-0", [13]),
        ("GPU-a", []),  # fits two
        ("0,7,1", [7]),  # as CUDA reads it: nothing after what is not there
        ("NoDevFiles", []),
        ("", []),
    ],
)
def test_devices_are_read_as_cuda_reads_them(text: str, handles: list[int]) -> None:
    assert given(text, GPUS) == handles


def test_the_nearest_variable_counts_even_if_it_is_empty() -> None:
    assert visible_devices({"SLURM_JOB_GPUS": "0,1"}) == ("SLURM_JOB_GPUS", "0,1")
    assert visible_devices({"SLURM_JOB_GPUS": "0,1", "CUDA_VISIBLE_DEVICES": ""}) == ("CUDA_VISIBLE_DEVICES", "")
    assert visible_devices({}) == ("", "")
