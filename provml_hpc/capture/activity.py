"""Activities and sections: what a user opens, logs to and closes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from operator import index as index_of
from typing import Any, TypeVar, cast

from provml_hpc import records, vocabulary
from provml_hpc.capture.node import SECTION
from provml_hpc.capture.statements import Statements
from provml_hpc.values import UnrecordableError, clean_text, normalise

_A = TypeVar("_A", bound="Activity")


class Activity(Statements):
    """One activity of a run on this rank. Opened by the methods of a run or of another activity, closed by ``with``.

    Nothing here is collective. Nothing here raises for what cannot be recorded: it is counted in the file and warned of
    once, unless the run is strict. All arguments are copied when the call is made.
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
        name, local, key, use, params, persona
            As for :meth:`activity`; the parameters are learning hyperparameters.
        """
        return self._stage_of("TrainingExecution", name, local, key, task, algorithm, use, params, persona)

    def validation(
        self,
        name: str = "validation",
        *,
        local: bool = False,
        key: Any = None,
        task: str | None = None,
        algorithm: str | None = None,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
    ) -> Activity:
        """Open a validation (a ValidationExecution); arguments as for :meth:`training`."""
        return self._stage_of("ValidationExecution", name, local, key, task, algorithm, use, params, persona)

    def evaluation(
        self,
        name: str = "evaluation",
        *,
        local: bool = False,
        key: Any = None,
        task: str | None = None,
        algorithm: str | None = None,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
    ) -> Activity:
        """Open an evaluation (an EvaluationExecution); arguments as for :meth:`training`."""
        return self._stage_of("EvaluationExecution", name, local, key, task, algorithm, use, params, persona)

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
        """Open an extraction of features (a FeatureExtractionExecution); arguments as for :meth:`training`."""
        return self._stage_of("FeatureExtractionExecution", name, local, key, task, algorithm, use, params, persona)

    def section(self, kind: str, index: int, *, key: Any = None, item: Any = None) -> Section:
        """Open a section (a LearningStageSectionExecution): an epoch, a fold, a group of batches.

        Parameters
        ----------
        kind
            What it is a section by, for example ``"epoch"``.
        index
            Its place among the sections of its kind.
        key
            What makes it the same on several ranks, in place of kind and index.
        item
            What it is about, where that is more than a number.
        """
        return self._section(kind, int(index), key=key, item=item, own=False)

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

    def _stage_of(
        self,
        cls: str,
        name: str,
        local: bool,
        key: Any,
        task: str | None,
        algorithm: str | None,
        use: Any,
        params: Any,
        persona: Any,
    ) -> Activity:
        return self._begin(
            Activity,
            cls,
            name,
            local=local,
            key=key,
            task=task,
            algorithm=algorithm,
            use=use,
            params=params,
            persona=persona,
        )

    def _section(self, kind: str, index: int, *, key: Any, item: Any, own: bool) -> Section:
        section = self._begin(
            Section,
            SECTION,
            f"{kind} {index}",
            local=own,
            key=key,
            kind=str(kind),
            index=index,
            item=item,
        )
        section.kind, section.index, section.item = str(kind), index, item
        return section

    def _begin(
        self,
        make: type[_A],
        cls: str,
        name: str,
        *,
        local: bool,
        key: Any = None,
        kind: str = "",
        index: int = 0,
        item: Any = None,
        task: str | None = None,
        algorithm: str | None = None,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
    ) -> _A:
        session = self._session
        own = local or self._own
        name = clean_text(str(name))
        place = (cls, "" if kind else name, kind, index, key)
        ordinal = self._ordinals[place] = self._ordinals.get(place, 0) + 1
        item_type = item_text = ""
        if item is not None:
            item_type, item_text = _value_or_label(item)
        settings = self._flatten(params, "params")
        signature = ""
        if not own and (settings or task or algorithm):
            text = json.dumps([task, algorithm, settings])
            signature = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]
        handle = session.write(
            records.Opened(
                code=vocabulary.CLASS[cls].code,
                parent=self._handle,
                own=int(own),
                ordinal=ordinal,
                section_index=index,
                name=name,
                key="" if key is None else clean_text(f"{type(key).__name__}:{key}"),
                section_kind=clean_text(kind),
                item_type=item_type,
                item=item_text,
                task=clean_text(task or ""),
                algorithm=clean_text(algorithm or ""),
                signature=signature,
            )
        )
        opened = make(session, cls, self, handle, own=own, name=name)
        self._open.append(opened)
        self._samples.point()
        opened._write_settings(opened, settings)
        opened._use(use)
        if persona is not None:
            opened.persona(persona)
        return opened


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


def _value_or_label(value: Any) -> tuple[str, str]:
    try:
        return normalise(value)
    except UnrecordableError:
        return "text", clean_text(repr(value)[:1000])
