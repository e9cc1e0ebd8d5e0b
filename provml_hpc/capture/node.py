"""What every activity is on its rank: a node in the tree of what is open, with a handle in the journal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from provml_hpc import records, vocabulary
from provml_hpc.capture.describer import Job
from provml_hpc.capture.entity import Entity, state_of, unseen
from provml_hpc.capture.samples import SampleLog
from provml_hpc.content import StatKey
from provml_hpc.errors import ProvMLError
from provml_hpc.values import UnrecordableError, clean_text, flatten

if TYPE_CHECKING:
    from typing_extensions import Self

    from provml_hpc.capture.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])

SECTION = "LearningStageSectionExecution"


def never_stops(method: _F) -> _F:
    """Turn an error inside the capture, wrong arguments included, into the run's one warning; not in a strict run.

    In a run that records nothing the method is not even called: what it would return is an entity that knows its place.
    """

    @functools.wraps(method)
    def guarded(self: Node, *args: Any, **kwargs: Any) -> Any:
        if self._session.inert:
            return self._nothing(*args[:1], **kwargs)
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            if self._session.strict and isinstance(error, ProvMLError):
                raise
            self._session.drop(self._handle, "unrecordable", method.__name__, f"{method.__name__}(): {error}")
            return self._nothing(*args[:1], **kwargs)

    return cast("_F", guarded)


class Node:
    """The part of an activity that knows its place; see :class:`~provml_hpc.capture.activity.Activity`."""

    def __init__(self, session: Session, cls: str, parent: Node | None, handle: int, *, own: bool, name: str) -> None:
        self._session = session
        self._class = cls
        self._parent = parent
        self._handle = handle
        self._own = own
        self._name = name
        self._closed = False
        self._open: list[Node] = []
        self._ordinals: dict[tuple[Any, ...], int] = {}
        self._made: list[Entity] = []
        self._named_sections: dict[str, dict[str, int]] = {}
        self._checkpoints: list[tuple[tuple[str, ...], Entity]] = []
        self._last_models: dict[tuple[str, ...], Entity] = {}
        self._samples = SampleLog(session, self)

    @property
    def name(self) -> str:
        """The name it was opened with."""
        return self._name

    def __repr__(self) -> str:
        return f"<{self._class} {self._name!r}, {'closed' if self._closed else 'open'}, rank {self._session.rank}>"

    def _nothing(self, source: Any = None, *, path: Any = None, **_: Any) -> Entity:
        """Return an entity that nothing is recorded of, so that the user's own code goes on."""
        source = path if source is None else source
        if isinstance(source, Entity):
            return Entity(self._session, 0, source.label, source.key)
        try:
            return Entity(self._session, 0, *unseen(source))
        except Exception:
            return Entity(self._session, 0, "", None)

    def _innermost(self) -> Node:
        """Return the innermost open section on this rank, which calls are credited to."""
        node: Node = self
        while True:
            inner = next((a for a in reversed(node._open) if a._class == SECTION), None)
            if inner is None:
                return node
            node = inner

    def _stage(self) -> Node:
        """Return the activity that this section is a section of, or the activity itself."""
        node: Node = self
        while node._class == SECTION and node._parent is not None:
            node = node._parent
        return node

    def _end(self, outcome: str, reason: str = "") -> None:
        if self._closed:
            return
        for inner in reversed(self._open):
            inner._end(records.LEFT)
        self._closed = True
        self._settle()
        if self._parent is not None:
            if self in self._parent._open:
                self._parent._open.remove(self)
            self._session.write(records.Closed(self._handle, outcome, reason))
            self._parent._samples.point()

    def _settle(self) -> None:
        """Look once more at what this activity made, and have it digested."""
        for made in self._made:
            if made.key is None:
                continue
            try:
                key = state_of(made.key.path)
            except OSError:
                self._session.write(records.Settled(made.handle, 0, 0, 0))
                continue
            self._settle_one(made, key)
        self._made.clear()

    def _settle_one(self, made: Entity, key: StatKey) -> None:
        self._session.write(records.Settled(made.handle, key.inode, key.size, key.mtime_ns))
        made.key = key
        if made.read:
            self._session.digester.want(key, whole=made.whole, at_once=self._own)
        self._describe(made, made.readers)

    def _describe(self, made: Entity, readers: Iterable[str]) -> None:
        """Have readers tell what is in a file, beside the training."""
        for reader in readers:
            if made.key is None or not made.key.mtime_ns:
                self._session.drop(self._handle, "not described", f"{made.label}: it is no file that is there")
            elif made.handle:
                job = Job(made.key, reader, self._handle, made.handle, made.label)
                self._session.digester.want_description(job, at_once=self._own)

    def _write_named(self, cls: str, entity: int, used: bool, settings: list[tuple[str, str, str]]) -> None:
        """Write values under names, of this activity or of an entity."""
        code = vocabulary.CLASS[cls].code
        for name, kind, text in settings:
            self._session.write(records.Named(code, self._handle, entity, int(used), name, kind, text))

    def _flatten(self, mapping: Any, call: str) -> list[tuple[str, str, str]]:
        """Return (name, type, text) of a nested mapping; what cannot be recorded is counted and named once."""
        if not mapping:
            return []

        def refuse(name: str, error: UnrecordableError) -> None:
            self._session.drop(self._handle, "unrecordable", name, f"{call}: {error}")

        try:
            return [(clean_text(name), kind, text) for name, kind, text in flatten(mapping, refuse=refuse)]
        except ProvMLError as error:
            refuse(call, cast("UnrecordableError", error))
            return []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end(records.COMPLETED)
        elif kind is GeneratorExit:
            self._end(records.LEFT)
        else:
            self._end(records.FAILED, f"{kind.__name__}: {error}"[:1000])
