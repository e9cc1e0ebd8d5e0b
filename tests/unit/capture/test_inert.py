"""``PROVML_DISABLE=1``: every call is there and does nothing."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import provml_hpc as provml
from provml_hpc.capture import entity


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> provml.Run:
    """Return a run that is switched off."""
    monkeypatch.setenv("PROVML_DISABLE", "1")
    return provml.init("off", phase="learning", output=tmp_path / "no" / "off.h5", strict=True, comm="no communicator")


def test_every_call_is_a_no_op(run: provml.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*_: Any) -> None:
        raise AssertionError("a run that is off looks at nothing")

    monkeypatch.setattr(entity, "look", looked)
    monkeypatch.setattr(entity, "stat_key", looked)
    monkeypatch.setattr(entity, "digest_array", looked)
    threads = threading.active_count()
    for activity in (
        run,
        run.activity("a", params=3, use=object(), persona=3),
        run.training(task=3, algorithm=object()),
        run.validation(local=True),
        run.evaluation(key=[1]),
        run.feature_extraction(),
        run.section("epoch", 3),
    ):
        with activity if activity is not run else run.activity("b") as one:
            one.log(0, loss=None, x="?")
            one.log("no step", loss=1.0)
            one.series("a", "b")(0, 1.0)
            one.log_metrics(None)
            one.log_metrics({"a": 1}, step=3)
            one.log_params(object())
            one.log_values(3)
            one.evaluate(3, acc=object(), on=3, model=object(), step="x")
            one.use(3)
            one.persona(object())
            assert one.use_dataset("a/b").path == str(Path.cwd() / "a/b")
            assert one.use_model(source=tmp_path).path == str(tmp_path)
            assert one.generate_dataset(path="x").label == "x"
            assert one.generate_features(np.zeros(3)).path is None
            assert one.log_model("m", params=3, derived_from=3).path == str(Path.cwd() / "m")
            assert one.use_dataset(one.use_model("handle")).label == "handle"
            assert [section.item for section in one.sections("batch", ["x", "y"], start=2)] == ["x", "y"]
            assert [section.index for section in one.sections("epoch", 2, start=2)] == [2, 3]
            for section in one.sections("epoch", 3):
                with section.validation() as inner:
                    inner.log(section.index, loss=1.0)
                break
    assert run.reference("store", "table").label == "table"
    assert not run.stop_requested
    assert run.output == tmp_path / "no" / "off.h5"
    assert len(run.id) == 36
    run.flush()
    run.rebind(None)
    run.finish()
    run.finish()
    run.log(0, loss=1.0)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


def test_exceptions_get_through(run: provml.Run) -> None:
    with pytest.raises(KeyError), run, run.training():
        raise KeyError


def test_no_public_call_was_forgotten() -> None:
    """What is public on a run is called above."""
    text = Path(__file__).read_text()
    for name, member in inspect.getmembers(provml.Run):
        if not name.startswith("_") and callable(member):
            assert f".{name}(" in text, name
