"""Writes down where a run happens: each rank its own facts, one rank a node's, the lead the run's."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from provml_hpc import records
from provml_hpc.capture import people
from provml_hpc.capture.session import Session
from provml_hpc.environment import Fact, Scope, collect, prepare
from provml_hpc.environment.host import user_name
from provml_hpc.environment.yielding import give_way
from provml_hpc.errors import ProvMLError
from provml_hpc.telemetry.visible import Neighbour, visible_devices
from provml_hpc.values import clean_text, normalise


def _records(scope: str, facts: list[Fact]) -> Iterator[records.Fact]:
    for fact in facts:
        kind, text = normalise(fact.value, fact.name)
        if fact.name.startswith("package."):
            yield records.Fact("package", fact.name.removeprefix("package."), kind, text)
            continue
        yield records.Fact(scope, fact.name, kind, text)
        if fact.comment:
            yield records.Fact(scope, f"{fact.name}.comment", "text", fact.comment)


def write(session: Session, persona: Any, asked: Collection[str] = ()) -> tuple[str, list[Neighbour]]:
    """Write the facts of this rank. *Collective*, since ranks of one node agree on who tells its facts.

    Returns
    -------
    tuple
        The name of the node, and the ranks on it if this one tells its facts: none if another one does.
    """
    me = [socket.gethostname(), os.getpid(), *visible_devices()]
    mine = json.dumps([session.clocks.tell(), *me]).encode()
    heard = [json.loads(one or b'[["", 0, 0], ""]') for one in session.transport.allgather(mine)]
    for clock in session.clocks.begin(session.transport, [one[0] for one in heard]):
        session.write(clock)
    told = [one[1:] for one in heard]
    neighbours = [Neighbour(rank, *one[1:]) for rank, one in enumerate(told) if one[0] == me[0]]
    scopes: list[Scope] = ["rank"]
    if neighbours[0].rank == session.rank:
        scopes.append("node")
    if me[2]:
        session.write(records.Fact("rank", str(me[2]), "text", clean_text(str(me[3]))))
    for scope in scopes:
        for record in _records(scope, collect(scope)):
            session.write(record)
    if session.leads:
        _write_persona(session, persona)
        # Listing packages and comparing a repository with its index takes up to seconds, so it is done beside the
        # training. What that imports is imported here: an import keeps the interpreter from all other threads.
        prepare()
        session.beside(lambda: _write_run(session, asked), "provml-facts")
    return str(me[0]), neighbours if "node" in scopes else []


def _write_run(session: Session, asked: Collection[str]) -> None:
    from provml_hpc.environment.asking import limit_facts

    found = collect("run", asked)
    for record in _records("run", found):
        give_way()
        session.write_aside(record)
    # Last, since a scheduler that is busy may take seconds over its answer.
    for record in _records("run", limit_facts(found)):
        session.write_aside(record)


def _write_persona(session: Session, persona: Any) -> None:
    if persona is None:
        name = user_name()
        persona = {"name": name, "identifier": f"{name}@{session.meta['authority']}"}
    session.write(people.named(0, persona))


def write_continued(session: Session, file: str | os.PathLike[str]) -> None:
    """Say which run this one goes on from."""
    if not session.leads:
        return
    from provml_hpc.storage.reader import open as open_file

    try:
        with open_file(file) as earlier:
            session.write(records.Continued(earlier.run.uuid, clean_text(str(Path(file)))))
    except (OSError, ProvMLError) as error:
        session.trouble(f"continues={os.fspath(file)!r}: {error}", error)
