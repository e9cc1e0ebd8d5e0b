"""How an activity is opened: what it is opened in, what makes it the same on several ranks, and its record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from operator import index as index_of
from typing import Any, NamedTuple, TypeVar

from provml_hpc import records, vocabulary
from provml_hpc.capture.distinct import described, sign
from provml_hpc.capture.inert import InertSession
from provml_hpc.capture.node import SECTION
from provml_hpc.capture.samples import shown
from provml_hpc.capture.statements import Statements
from provml_hpc.values import clean_text

_O = TypeVar("_O", bound="Opening")


class Aim(NamedTuple):
    """What a stage is for, as the user gave it: what is to be learned, how, and how the result is to be judged."""

    task: Any = None
    algorithm: Any = None
    measures: Any = ()
    procedure: Any = None

    def texts(self) -> tuple[str, str, list[str], str]:
        """Return the same as text; measures by name, sorted, each once."""
        task, algorithm, procedure = (
            "" if one is None else clean_text(str(one)) for one in (self.task, self.algorithm, self.procedure)
        )
        several = isinstance(self.measures, Iterable) and not isinstance(self.measures, str)
        names = self.measures if several else [] if self.measures is None else [self.measures]
        return task, algorithm, sorted({clean_text(str(name)) for name in names} - {""}), procedure


class Opening(Statements):
    """The part of an activity that opens others; see :class:`~provml_hpc.capture.activity.Activity`."""

    _kind = ""
    """What it is a section by, as text."""

    def _begin(
        self,
        make: type[_O],
        cls: str,
        name: Any,
        aim: Aim = Aim(),  # noqa: B008 - it cannot change
        *,
        use: Any = (),
        params: Any = None,
        persona: Any = None,
        **place: Any,
    ) -> _O:
        """Open an activity. What cannot be opened gives one that records nothing, so that the user's code goes on."""
        session = self._session
        opened: _O | None = None
        if not session.inert:
            try:
                parent = self._parent_for(clean_text(str(name)) if cls == SECTION else None)
                opened = parent._open_one(make, cls, name, aim, params=self._flatten(params, "params"), **place)
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

    def _parent_for(self, kind: str | None) -> Opening:
        """Return what a new activity is opened in: the innermost open section, but no epoch within an epoch."""
        node: Opening = self
        while True:
            inner = next((one for one in reversed(node._open) if one._class == SECTION), None)
            if not isinstance(inner, Opening) or inner._kind == kind:
                return node
            node = inner

    def _open_one(
        self,
        make: type[_O],
        cls: str,
        name: Any,
        aim: Aim,
        *,
        local: bool,
        params: list[tuple[str, str, str]],
        key: Any = None,
        section_index: int | None = None,
        item: Any = None,
    ) -> _O | None:
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
        task, algorithm, measures, procedure = aim.texts()
        signature = ""
        if not own and (params or task or algorithm or procedure or measures):
            judged = (procedure, measures) if procedure or measures else ()
            signature = sign(json.dumps([task, algorithm, params, *judged]))
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
                measures=json.dumps(measures) if measures else "",
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
        opened._kind = kind
        self._open.append(opened)
        self._samples.point()
        opened._write_settings(opened, params)
        return opened
