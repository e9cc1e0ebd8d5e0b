"""Activities and sections: what a user opens, logs to and closes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import index as index_of
from typing import Any, cast

from provml_hpc import records
from provml_hpc.capture.node import SECTION
from provml_hpc.capture.opening import Aim, Opening


class Activity(Opening):
    """One activity of a run on this rank. Opened by the methods of a run or of another activity, closed by ``with``.

    What is called on it, opening a further activity included, is credited to its innermost section that is open on this
    rank. Nothing here is collective. Nothing here raises for what cannot be recorded: it is counted in the file and
    warned of once, unless the run is strict. All arguments are copied when the call is made.
    """

    def activity(
        self, name: str, *, local: bool = True, key: Any = None, use: Any = (), params: Any = None, persona: Any = None
    ) -> Activity:
        """Open a data transformation (a DataTransformationExecution), this rank's own unless ``local=False``.

        Parameters
        ----------
        name
            Its name; the plan of all activities of that name.
        local
            Whether it belongs to this rank alone. Shared otherwise: the ranks that open the same one, by name and
            k-th opening or by an equal `key`, take part in one activity.
        key
            What makes it the same on several ranks, in place of counting.
        use
            What it reads: entities or paths, one or several, or a mapping from roles to them.
        params
            A mapping of its parameters, nested as you like.
        persona
            Who is responsible for it, as for :meth:`persona`.
        """
        return self._begin(
            Activity, "DataTransformationExecution", name, local=local, key=key, use=use, params=params, persona=persona
        )

    def training(
        self,
        name: str = "training",
        *,
        local: bool = False,
        key: Any = None,
        task: str | None = None,
        algorithm: str | None = None,
        measures: str | Iterable[str] = (),
        procedure: str | None = None,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
    ) -> Activity:
        """Open a training (a TrainingExecution), shared by the ranks that open it unless ``local=True``.

        Parameters
        ----------
        task
            What is to be learned, for example ``"classification"``.
        algorithm
            How it is learned, for example ``"SGD"``.
        measures
            The measures that decide how good the result is, one or several: ``"accuracy"``. With `procedure` they are
            an EvaluationSpecification, which the task is defined on.
        procedure
            How the measures are taken: ``"5-fold cross-validation"``, ``"hold-out of 20 %"``.
        name, local, key, use, params, persona
            As for :meth:`activity`; the parameters are learning hyperparameters.
        """
        aim = Aim(task, algorithm, measures, procedure)
        return self._begin(
            Activity, "TrainingExecution", name, aim, local=local, key=key, use=use, params=params, persona=persona
        )

    def validation(
        self,
        name: str = "validation",
        *,
        local: bool = False,
        key: Any = None,
        task: str | None = None,
        algorithm: str | None = None,
        measures: str | Iterable[str] = (),
        procedure: str | None = None,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
    ) -> Activity:
        """Open a validation (a ValidationExecution); arguments as for :meth:`training`."""
        aim = Aim(task, algorithm, measures, procedure)
        return self._begin(
            Activity, "ValidationExecution", name, aim, local=local, key=key, use=use, params=params, persona=persona
        )

    def evaluation(
        self,
        name: str = "evaluation",
        *,
        local: bool = False,
        key: Any = None,
        task: str | None = None,
        algorithm: str | None = None,
        measures: str | Iterable[str] = (),
        procedure: str | None = None,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
    ) -> Activity:
        """Open an evaluation (an EvaluationExecution); arguments as for :meth:`training`."""
        aim = Aim(task, algorithm, measures, procedure)
        return self._begin(
            Activity, "EvaluationExecution", name, aim, local=local, key=key, use=use, params=params, persona=persona
        )

    def feature_extraction(
        self,
        name: str = "feature extraction",
        *,
        local: bool = False,
        key: Any = None,
        task: str | None = None,
        algorithm: str | None = None,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
    ) -> Activity:
        """Open an extraction of features (a FeatureExtractionExecution); arguments as for :meth:`training`.

        Task and algorithm are kept as attributes of it: ML-Schema has these two for runs of learning alone.
        """
        aim = Aim(task, algorithm)
        return self._begin(
            Activity,
            "FeatureExtractionExecution",
            name,
            aim,
            local=local,
            key=key,
            use=use,
            params=params,
            persona=persona,
        )

    def section(self, kind: str, index: Any, *, key: Any = None, item: Any = None) -> Section:
        """Open a section (a LearningStageSectionExecution): an epoch, a fold, a group of batches.

        Parameters
        ----------
        kind
            What it is a section by, for example ``"epoch"``.
        index
            Its place among the sections of its kind; or anything else that names it, such as ``"north"``, which is its
            item and its key then, and its place is counted.
        key
            What makes it the same on several ranks, in place of kind and index.
        item
            What it is about, where that is more than a number.
        """
        if not hasattr(index, "__index__"):
            key, item = index if key is None else key, index if item is None else item
            place = self._named_sections.setdefault(str(kind), {})
            index = place.setdefault(str(index), len(place))
        return self._section(kind, index, key=key, item=item, own=False)

    def sections(
        self, kind: str, n_or_iterable: int | Iterable[Any], *, start: int = 0, key: Any = None
    ) -> Iterator[Section]:
        """Open one section after the other, for a ``for`` loop.

        A section ends when the next begins. One that is left early (break, return, an exception) takes the outcome of
        what encloses it. Sections of a shared activity are shared by their index where a number is given; over
        another iterable they are this rank's own unless `key` is given.

        Parameters
        ----------
        kind
            As for :meth:`section`.
        n_or_iterable
            How many, or what to go through; the section's `item` is then each of it.
        start
            The index of the first.
        key
            What makes the sections, one by one, the same on several ranks.

        Examples
        --------
        >>> for epoch in training.sections("epoch", 10):  # doctest: +SKIP
        ...     training.log(step, loss=loss)
        """
        counted = hasattr(n_or_iterable, "__index__")
        items: Iterable[Any] = (
            range(start, start + index_of(cast("int", n_or_iterable)))
            if counted
            else cast("Iterable[Any]", n_or_iterable)
        )
        own = not counted and key is None
        for index, item in enumerate(items, start):
            section = self._section(
                kind, index, key=None if key is None else (key, index), item=None if counted else item, own=own
            )
            if counted:
                section.item = item
            try:
                yield section
            except GeneratorExit:
                section._end(records.LEFT)
                raise
            except BaseException:
                section._end(records.FAILED)
                raise
            section._end(records.COMPLETED)

    def _section(self, kind: str, index: int, *, key: Any, item: Any, own: bool) -> Section:
        section = self._begin(Section, SECTION, kind, local=own, key=key, section_index=index, item=item)
        section.kind, section.index, section.item = kind, index, item
        return section


class Section(Activity):
    """A section of an activity: see :meth:`Activity.section`.

    What is called on it is credited to it, or to the innermost section that is open inside it.
    """

    kind: str = ""
    """What it is a section by."""
    index: int = 0
    """Its place among the sections of its kind."""
    item: Any = None
    """What was iterated over."""
