"""What is said of an activity: samples, parameters, facts, measures, people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from provml_hpc import records
from provml_hpc.capture import people
from provml_hpc.capture.data import Data
from provml_hpc.capture.node import Node, never_stops
from provml_hpc.records import NO_STEP


class Statements(Data):
    """The part of an activity that logs; see :class:`~provml_hpc.capture.activity.Activity`."""

    def log(self, step: int, **values: float) -> None:
        """Log one sample: measures at a step. Local, about a microsecond, no MPI and no I/O.

        Parameters
        ----------
        step
            The training step, an integer.
        values
            Numbers, or what gives one by ``float()``; all become float64. A tensor on a GPU is fetched, which waits
            for the GPU.
        """
        # The first call puts the recorder in this method's place on the instance, so that later ones find it at once.
        self._samples.open_log()(step, **values)

    @never_stops
    def log_metrics(self, mapping: Mapping[str, float], step: int | None = None) -> None:
        """Log one sample given as a mapping, whose names may be any text. Without a step it is said for none."""
        values = {str(name): value for name, value in mapping.items()}
        self._samples.series((*values,))(NO_STEP if step is None else step, *values.values())

    def series(self, *measures: str) -> Callable[..., None]:
        """Return a function ``record(step, value, ...)`` for fixed measures: the fastest way to log.

        The function stays good until the run ends; what it records is credited to the section that is innermost at
        that moment.
        """
        return self._samples.series(tuple(str(m) for m in measures))

    @never_stops
    def log_params(self, mapping: Mapping[str, Any]) -> None:
        """Log the parameters of this activity: learning hyperparameters in a learning job.

        Nested mappings get dotted names (``optimizer.lr``); lists stay one value.
        """
        self._write_settings(self._innermost(), self._flatten(mapping, "log_params"))

    @never_stops
    def log_values(self, mapping: Mapping[str, Any]) -> None:
        """Log other facts about this activity (AttributeValue): seeds, domain values, counts."""
        target = self._innermost()
        target._write_named("AttributeValue", 0, False, self._flatten(mapping, "log_values"))

    def _write_settings(self, target: Node, settings: list[tuple[str, str, str]]) -> None:
        learning = self._session.meta["phase"] == "learning"
        cls = "LearningHyperparameterValue" if learning else "AttributeValue"
        target._write_named(cls, 0, True, settings)

    @never_stops
    def evaluate(
        self,
        measures: Mapping[str, Any] | None = None,
        /,
        *,
        on: Any = None,
        model: Any = None,
        step: int | None = None,
        **named: Any,
    ) -> None:
        """Log what measures came to (a ModelEvaluation each).

        Parameters
        ----------
        measures, named
            The measures and their values, as a mapping, by keyword, or both.
        on
            The dataset that they were taken on: an entity or a path.
        model
            The model that was measured: an entity or a path.
        step
            The training step, if there is one.
        """
        target = self._innermost()
        data = self._resolve(on).handle if on is not None else 0
        what = self._resolve(model, model=True).handle if model is not None else 0
        for name, kind, text in self._flatten({**(measures or {}), **named}, "evaluate"):
            at = NO_STEP if step is None else int(step)
            self._session.write(records.Evaluated(target._handle, data, what, at, name, kind, text))

    @never_stops
    def persona(self, name: str | Mapping[str, Any], role: str | None = None) -> None:
        """Say that a person took part.

        Parameters
        ----------
        name
            A name, an ORCID or user@domain, or a mapping with ``name``, ``identifier``, ``role`` and, for a group or an
            institution, ``organization`` that is true.
        role
            What the person did.
        """
        self._session.write(people.named(self._handle, name, role))
