"""Activities and sections: what a user opens, logs to and closes."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from operator import index as index_of
from typing import Any, TypeVar, cast

from provml_hpc import records, vocabulary
from provml_hpc.capture.inert import InertSession
from provml_hpc.capture.node import SECTION
from provml_hpc.capture.samples import shown
from provml_hpc.capture.statements import Statements
from provml_hpc.values import UnrecordableError, clean_text, normalise

_A = TypeVar("_A", bound="Activity")
_LONGEST = 1000
"""Most characters that are kept of a key or an item with parts."""
_MOST = 100
"""Most parts of an item that is recorded as a value; larger ones are data, of which the kind is told."""


class Activity(Statements):
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
        return self._begin(
            Activity,
            "TrainingExecution",
            name,
            local=local,
            key=key,
            task=task,
            algorithm=algorithm,
            measures=measures,
            procedure=procedure,
            use=use,
            params=params,
            persona=persona,
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
        return self._begin(
            Activity,
            "ValidationExecution",
            name,
            local=local,
            key=key,
            task=task,
            algorithm=algorithm,
            measures=measures,
            procedure=procedure,
            use=use,
            params=params,
            persona=persona,
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
        return self._begin(
            Activity,
            "EvaluationExecution",
            name,
            local=local,
            key=key,
            task=task,
            algorithm=algorithm,
            measures=measures,
            procedure=procedure,
            use=use,
            params=params,
            persona=persona,
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
        return self._begin(
            Activity,
            "FeatureExtractionExecution",
            name,
            local=local,
            key=key,
            task=task,
            algorithm=algorithm,
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

    def _begin(
        self,
        make: type[_A],
        cls: str,
        name: Any,
        *,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
        **place: Any,
    ) -> _A:
        """Open an activity. What cannot be opened gives one that records nothing, so that the user's code goes on."""
        session = self._session
        opened: _A | None = None
        if not session.inert:
            try:
                parent = self._parent_for(name if make is Section else None)
                opened = parent._open_one(make, cls, name, params=self._flatten(params, "params"), **place)
            except Exception as error:
                session.drop(self._handle, "unrecordable", cls)
                session.trouble(f"{cls}: {error}", error)
        if opened is None:
            lost = session if session.inert else InertSession(session.meta, session.output)
            return make(lost, cls, self, 0, own=False, name=name if isinstance(name, str) else shown(name))
        opened._use(use)
        if persona is not None:
            opened.persona(persona)
        return opened

    def _parent_for(self, kind: Any) -> Activity:
        """Return what a new activity is opened in: the innermost open section, but no epoch within an epoch."""
        node: Activity = self
        while True:
            inner = next((one for one in reversed(node._open) if isinstance(one, Section)), None)
            if inner is None or (kind is not None and inner.kind == str(kind)):
                return node
            node = inner

    def _open_one(
        self,
        make: type[_A],
        cls: str,
        name: Any,
        *,
        local: bool,
        params: list[tuple[str, str, str]],
        key: Any = None,
        section_index: int | None = None,
        item: Any = None,
        task: Any = None,
        algorithm: Any = None,
        measures: Any = (),
        procedure: Any = None,
    ) -> _A | None:
        session = self._session
        own = local or self._own
        text, kind, index = clean_text(str(name)), "", 0
        if section_index is not None:
            kind, index = text, index_of(section_index)
            text = f"{kind} {index}"
        key_text = "" if key is None else "{}:{}".format(*described(key))
        place = (cls, "" if kind else text, kind, index, key_text)
        ordinal = self._ordinals.get(place, 0) + 1
        item_type, item_text = ("", "") if item is None else described(item)
        task, algorithm, procedure = (
            clean_text(str(one)) if one is not None else "" for one in (task, algorithm, procedure)
        )
        judged = _measures(measures)
        signature = ""
        if not own and (params or task or algorithm or procedure or judged):
            signature = _sign(
                json.dumps([task, algorithm, params, *([procedure, judged] if procedure or judged else ())])
            )
        handle = session.write(
            records.Opened(
                code=vocabulary.CLASS[cls].code,
                parent=self._handle,
                own=int(own),
                ordinal=ordinal,
                section_index=index,
                name=text,
                key=key_text,
                section_kind=kind,
                item_type=item_type,
                item=item_text,
                task=task,
                algorithm=algorithm,
                signature=signature,
                procedure=procedure,
                measures=json.dumps(judged) if judged else "",
            )
        )
        if not handle:  # another thread, no room, or the run has ended
            if session.alive:
                session.drop(
                    self._handle,
                    "not opened",
                    text,
                    f"{cls} {text!r:.80} is not recorded: open activities in the thread that called init()",
                )
            session.late(self)
            return None
        self._ordinals[place] = ordinal
        opened = make(session, cls, self, handle, own=own, name=text)
        self._open.append(opened)
        self._samples.point()
        opened._write_settings(opened, params)
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


def _measures(given: Any) -> list[str]:
    """Return the names of measures that one name, or several, stand for."""
    if given is None:
        return []
    names = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return sorted({clean_text(str(name)) for name in names} - {""})


def described(value: Any) -> tuple[str, str]:
    """Return type and text of what tells sections apart: short, and made in little time whatever it is."""
    try:
        if not _is_large(value):
            kind, text = normalise(value)
            if kind == "json" and len(text) > _LONGEST:
                return "text", f"{text[:_LONGEST]}... ({_sign(text)})"
            return kind, text
        shape = getattr(value, "shape", None)
        return "text", type(value).__name__ + ("" if shape is None else str(list(shape)))
    except UnrecordableError:
        return "text", shown(value)
    except Exception:  # its own code may raise anything
        return "text", type(value).__name__


def _sign(text: str) -> str:
    """Return 16 digits that are the same where texts are. Two checksums, forwards and backwards: no OpenSSL for it."""
    raw = text.encode("utf-8", "backslashreplace")
    return f"{zlib.crc32(raw):08x}{zlib.crc32(raw[::-1]):08x}"


def _is_large(value: Any, depth: int = 0) -> bool:
    """Tell whether a value holds data, a batch say, and is not just what tells it from the next."""
    if hasattr(value, "shape"):
        return bool(math.prod(value.shape) > _MOST)
    if not isinstance(value, (list, tuple, set, frozenset, Mapping)):
        return False
    if len(value) > _MOST or depth > 4:
        return True
    return any(_is_large(one, depth + 1) for one in (value.values() if isinstance(value, Mapping) else value))
