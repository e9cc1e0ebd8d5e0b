"""From the tables of a graph to statements, mechanically: the vocabulary alone tells what becomes of what.

The statements come as text in the syntax of N-Quads (or N-Triples), subject after subject in the order of ids, in
pieces of bounded size. What is held besides the graph itself is a reference to the uuid of each node and a few
numbers for each row of the relations.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from provml_hpc import identity, vocabulary
from provml_hpc._version import __version__
from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.errors import FormatError
from provml_hpc.vocabulary import Field, Relation, expand
from provml_tools.rdf import terms, uuids
from provml_tools.rdf.columns import Numbers, SortedTable, field_cells
from provml_tools.rdf.samples import sample_statements
from provml_tools.rdf.uuids import Uuids

PIECE = 1024
"""How many rows are turned into text before it is handed on."""

LONG_PIECE = 65_536
"""How many uuids are read at a time."""

Flags = np.ndarray[Any, np.dtype[np.bool_]]

_HAD_ROLE = "prov:hadRole"


def statements(graph: Graph, base: str | None = None, samples: bool = False, named: bool = True) -> Iterator[str]:
    """Yield what a graph says, as text of N-Quads (or of N-Triples, if not `named`), in pieces of whole lines.

    Parameters
    ----------
    graph
        One run.
    base
        What the uuids are put behind, instead of ``urn:uuid:``.
    samples
        Whether each logged sample is said too.
    named
        Whether all but the description of the graph itself is in the run's named graph.

    Raises
    ------
    UsageError
        `base` is no absolute IRI.
    FormatError
        The tables contradict themselves, or come from a newer release.
    """
    return Mapping(graph, base, named).statements(samples)


class Piece(NamedTuple):
    """Some of the text: whole lines."""

    text: str
    mentioned: list[Numbers]
    """The ids of the records that are pointed at."""
    more: bool
    """Whether it says further relations of a node, whatever else is said of which stands in pieces before."""


class Mapping:
    """One conversion of one graph: :func:`statements` tells what it takes and raises."""

    def __init__(self, graph: Graph, base: str | None = None, named: bool = True) -> None:
        self._graph = graph
        base = terms.check_base(base)
        self._base = base
        self._bundle = f"<{base}{identity.graph(graph.run.uuid)}>"
        self._end = f" {self._bundle} .\n" if named else " .\n"
        self._roles: dict[str, str] = {}
        self._nodes: list[tuple[vocabulary.Class, SortedTable]] = []
        for name, table in graph.nodes.items():
            if len(table):
                if name not in vocabulary.CLASS:
                    raise FormatError(f"The class {name!r} is not known to this release. Use a newer one.")
                self._nodes.append((vocabulary.CLASS[name], SortedTable(table, "id")))
        self._nodes.sort(key=lambda pair: pair[0].code)
        self.uuids = self._collect_uuids()
        self._links: list[_Links] = []
        for name, table in graph.relations.items():
            if len(table):
                if name not in vocabulary.RELATION:
                    raise FormatError(f"The relation {name!r} is not known to this release. Use a newer one.")
                self._links.append(
                    _Links(vocabulary.RELATION[name], SortedTable(table, "subject", "object"), len(self.uuids))
                )
        self._links.sort(key=lambda links: links.relation.code)

    def _collect_uuids(self) -> Uuids:
        count = sum(len(table) for _, table in self._nodes)
        found = Uuids(count)
        for cls, table in self._nodes:
            ids = table.keys[0]
            if ids[0] < 0 or ids[-1] >= count:
                raise FormatError(f"The ids of {cls.name} are not dense. Try `provml recover` on the file.")
            for start in range(0, len(table), LONG_PIECE):
                stop = min(start + LONG_PIECE, len(table))
                found.put(ids[start:stop], table.values("uuid", start, stop))
        found.seal()
        return found

    def pieces(self) -> Iterator[Piece]:
        """Yield what is said of the run's records, with the ids of the records that it points at."""
        types = {cls.name: [self._type_tail(name) for name in terms.class_types(cls.name)] for cls, _ in self._nodes}
        for start, stop in self._blocks():
            yield from self._block(start, stop, types)

    def statements(self, samples: bool = False) -> Iterator[str]:
        """Yield all text."""
        yield self.describe_bundle()
        for piece in self.pieces():
            yield piece.text
        if samples:
            yield from sample_statements(self._graph, self.uuids, self._base, self._end)
        yield self.describe_roles()

    def _type_tail(self, name: str) -> str:
        return f" {terms.TYPE} <{expand(name)}>{self._end}"

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of ids with about PIECE rows each; an id with more rows than that stands alone."""
        weights = np.ones(len(self.uuids), np.int64)
        for links in self._links:
            weights += np.bincount(links.subjects, minlength=len(weights))
        reached = np.cumsum(weights)
        start = 0
        while start < len(weights):
            before = reached[start - 1] if start else 0
            stop = max(int(np.searchsorted(reached, before + PIECE, "right")), start + 1)
            yield start, stop
            start = stop

    def _block(self, start: int, stop: int, types: dict[str, list[str]]) -> Iterator[Piece]:
        subjects = [f"<{self._base}{uuid}>" for uuid in self.uuids[start:stop]]
        block = _Block(subjects)
        for cls, table in self._nodes:
            first, last = np.searchsorted(table.keys[0], (start, stop)).tolist()
            if first == last:
                continue
            places = (table.keys[0][first:last] - start).tolist()
            own = [subjects[place] for place in places]
            tails = types[cls.name]
            columns = [[s + s.join(tails) for s in own]]
            for field in vocabulary.fields(cls.name):
                cells = field_cells(table, field, first, last, own, self._end)
                if cells is not None:
                    columns.append(cells)
            block.put(places, map("".join, zip(*columns, strict=True)), tails)
        rest = []
        for links in self._links:
            first, last = np.searchsorted(links.subjects, (start, stop)).tolist()
            self._relate(links, first, min(first + PIECE, last), start, block)
            rest += [(links, at, min(at + PIECE, last)) for at in range(first + PIECE, last, PIECE)]
        yield block.take()
        for links, first, last in rest:
            # A node with very many relations: hand on what there is, so that memory does not grow with them.
            block.mentioned.append(np.array([start]))
            self._relate(links, first, last, start, block)
            yield block.take(more=True)

    def _relate(self, links: _Links, first: int, last: int, start: int, block: _Block) -> None:
        """Say rows `first` to `last` of a relation: directly, and with their fields on a node of its own."""
        if first == last:
            return
        block.mentioned.append(links.objects[first:last])
        places = (links.subjects[first:last] - start).tolist()
        targets = self.uuids.of(links.objects[first:last])
        before = f" <{expand(links.relation.iri)}> <{self._base}"
        end = ">" + self._end
        about, subjects = block.about, block.subjects
        new = links.new_pair[first:last]
        if new.all():
            for place, target in zip(places, targets, strict=True):
                about[place] += f"{subjects[place]}{before}{target}{end}"
        else:
            for row in np.flatnonzero(new).tolist():
                about[places[row]] += f"{subjects[places[row]]}{before}{targets[row]}{end}"
        if links.relation.implies:
            implied = self._type_tail(links.relation.implies)
            for row in np.flatnonzero(links.new_subject[first:last]).tolist():
                block.imply(places[row], implied)
        if links.relation.qualified and links.relation.fields:
            self._qualify(links, first, last, places, targets, block)

    def _qualify(
        self, links: _Links, first: int, last: int, places: list[int], targets: list[str], block: _Block
    ) -> None:
        relation = links.relation
        assert relation.qualified
        leads, kind, to = relation.qualified
        rows = last - first
        known: list[list[str]] = []
        pointing: list[tuple[str, list[str]]] = []
        said = np.zeros(rows, bool)
        for field in relation.fields:
            if field.iri == _HAD_ROLE or field.type == "reference":
                uuids_of = self._point(links.table, field, first, last, block)
                known.append(uuids_of)
                pointing.append((f" <{expand(field.iri)}> <{self._base}", uuids_of))
                said |= np.fromiter(map(bool, uuids_of), bool, rows)
            else:
                said |= _says(links.table, field, first, last)
        names = self._names(links, first, last, said, known, targets)
        before, end = f" <{expand(leads)}> <{self._base}", ">" + self._end
        is_kind, to_object = self._type_tail(kind), f" <{expand(to)}> <{self._base}"
        about, subjects = block.about, block.subjects
        nodes = [f"<{self._base}{name}>" for name in names]
        for place, name in zip(places, names, strict=True):
            if name:
                about[place] += f"{subjects[place]}{before}{name}{end}"
        columns = [[f"{n}{is_kind}{n}{to_object}{target}{end}" for n, target in zip(nodes, targets, strict=True)]]
        points = iter(pointing)
        for field in relation.fields:
            if field.iri == _HAD_ROLE or field.type == "reference":
                lead, uuids_of = next(points)
                columns.append([f"{n}{lead}{u}{end}" if u else "" for n, u in zip(nodes, uuids_of, strict=True)])
            else:
                cells = field_cells(links.table, field, first, last, nodes, self._end)
                if cells is not None:
                    columns.append(cells)
        texts = map("".join, zip(*columns, strict=True))
        block.beside += texts if said.all() else (text for text, name in zip(texts, names, strict=True) if name)

    def _names(
        self, links: _Links, first: int, last: int, said: Flags, known: list[list[str]], targets: list[str]
    ) -> list[str]:
        """Return the uuid of the node that qualifies each row; the empty text where there is nothing to say."""
        names = []
        # One of several statements of the same two nodes in the same role is known by its place among them.
        keys: Iterable[tuple[str, ...]] = zip(*known, strict=True) if known else repeat((), last - first)
        rows = zip(
            links.subjects[first:last].tolist(),
            targets,
            links.new_pair[first:last].tolist(),
            said.tolist(),
            keys,
            strict=True,
        )
        last_subject, seed = -1, b""
        count = links.said
        for subject, target, new_pair, has, key in rows:
            if new_pair:
                count.clear()
            if not has:
                names.append("")
                continue
            if subject != last_subject:
                last_subject, seed = subject, uuids.seed(self.uuids[subject])
            nth = count[key] = count.get(key, 0) + 1
            names.append(uuids.below(seed, uuids.place(links.relation.name, target, *key, nth)))
        return names

    def _point(self, table: SortedTable, field: Field, first: int, last: int, block: _Block) -> list[str]:
        """Return the uuids of what rows of a relation point at beside their object: a role, or another record."""
        if not table.has(field.name):
            # An older file: the uuid is what it would be if the column were there and empty.
            return [""] * (last - first)
        if field.type != "reference":
            roles = self._roles
            return [
                (roles.get(name) or self._role(name)) if name else "" for name in table.values(field.name, first, last)
            ]
        column = table.array(field.name, first, last)
        there = column != ABSENT
        if ((column[there] < 0) | (column[there] >= len(self.uuids))).any():
            raise FormatError(f"{table.name}.{field.name} points at no record. Try `provml recover` on the file.")
        block.mentioned.append(column[there])
        found = self.uuids.of(np.where(there, column, 0))
        for row in np.flatnonzero(~there).tolist():
            found[row] = ""
        return found

    def types_of(self, ids: Numbers, name: str, among: Container[str]) -> str:
        """Return as lines which types records have, by a property of one's own, of those `among` some."""
        lines = []
        for cls, table in self._nodes:
            keys = table.keys[0]
            own = ids[(ids >= keys[0]) & (ids <= keys[-1])]
            own = own[keys[np.searchsorted(keys, own)] == own]
            kinds = [f" <{name}> <{expand(one)}>{self._end}" for one in terms.class_types(cls.name) if one in among]
            subjects = [f"<{self._base}{uuid}>" for uuid in self.uuids.of(own)] if kinds else []
            lines += [subject + subject.join(kinds) for subject in subjects]
        role = f" <{name}> <{expand('prov:Role')}>{self._end}"
        lines += [f"<{self._base}{uuid}>{role}" for uuid in self._roles.values()]
        return "".join(lines)

    def _role(self, name: str) -> str:
        found = self._roles[name] = identity.named(self._graph.run.authority, "Role", name)
        return found

    def describe_roles(self) -> str:
        """Return what is said of the roles that were met so far."""
        parts = []
        for name, uuid in sorted(self._roles.items()):
            subject = f"<{self._base}{uuid}>"
            label = f" <{expand('rdfs:label')}> {terms.literal(name)}{self._end}"
            parts.append(f"{subject}{self._type_tail('prov:Role')}{subject}{label}")
        return "".join(parts)

    def describe_bundle(self) -> str:
        """Describe the named graph, in the default graph: which run, file and commit it is of, and what made it RDF."""
        run = self._graph.run
        by = f"<{self._base}{identity.named('provml-hpc', 'SoftwareAgent', 'provml convert', __version__)}>"
        said: list[tuple[str, str]] = [("rdf:type", f"<{expand(one)}>") for one in ("prov:Bundle", "prov:Entity")]
        texts = {
            "rdfs:label": run.name,
            "provml:runId": run.uuid,
            "provml:phase": run.phase,
            "provml:status": run.status,
            # The name alone: a folder would make two conversions of one file differ.
            "provml:hdf5File": PurePath(run.file).name,
            "provml:writtenBy": run.writer,
        }
        said += [(name, terms.literal(text)) for name, text in texts.items() if text]
        if run.committed_ns != ABSENT:
            time = terms.times(np.array([run.committed_ns]))[0]
            said.append(("prov:generatedAtTime", f'"{time}{terms.DATETIME}'))
            said.append((terms.companion("committed_ns"), f'"{run.committed_ns}{terms.INTEGER}'))
        said.append(("prov:wasAttributedTo", by))
        lines = [f"{self._bundle} <{expand(name)}> {what} .\n" for name, what in said]
        agent = [("rdf:type", f"<{expand(one)}>") for one in ("prov:SoftwareAgent", "prov:Agent")]
        agent += [("rdfs:label", '"provml convert"'), ("provml:version", terms.literal(__version__))]
        lines += [f"{by} <{expand(name)}> {what} .\n" for name, what in agent]
        return "".join(lines)


def _says(table: SortedTable, field: Field, first: int, last: int) -> Flags:
    """Tell for each row whether a literal field says something in it."""
    if not table.has(field.name):
        return np.zeros(last - first, bool)
    if field.type in ("integer", "time", "real"):
        column = table.array(field.name, first, last)
        return np.asarray(~np.isnan(column) if field.type == "real" else column != ABSENT)
    if field.type == "boolean":
        return np.ones(last - first, bool)
    if field.type == "value":
        marks = table.values(field.name + "_type", first, last)
        return np.fromiter((terms.value_type(mark) != "absent" for mark in marks), bool, last - first)
    return np.fromiter(map(bool, table.values(field.name, first, last)), bool, last - first)


class _Block:
    """What is said of some nodes, until it is handed on."""

    def __init__(self, subjects: list[str]) -> None:
        self.subjects = subjects
        self.about = [""] * len(subjects)
        """The lines of each node."""
        self.beside: list[str] = []
        """The lines of nodes that only RDF has."""
        self.mentioned: list[Numbers] = []
        self._types: dict[str, set[int]] = {}

    def put(self, places: list[int], texts: Iterable[str], types: Sequence[str]) -> None:
        """Take in the lines of some nodes, and which types they tell."""
        for place, text in zip(places, texts, strict=True):
            self.about[place] = text
        for one in types:
            self._types.setdefault(one, set()).update(places)

    def imply(self, place: int, tail: str) -> None:
        """Say a type of a node once: two relations may imply it, and a class may have it already."""
        known = self._types.setdefault(tail, set())
        if place not in known:
            known.add(place)
            self.about[place] += self.subjects[place] + tail

    def take(self, more: bool = False) -> Piece:
        """Return all lines, and forget them."""
        text, mentioned = "".join(self.about) + "".join(self.beside), self.mentioned
        self.about, self.beside, self.mentioned = [""] * len(self.subjects), [], []
        return Piece(text, mentioned, more)


class _Links:
    """One table of relations, in order of subject and object."""

    def __init__(self, relation: Relation, table: SortedTable, count: int) -> None:
        self.relation = relation
        self.table = table
        self.subjects, self.objects = table.keys
        for ends in (self.subjects, self.objects):
            if ends.min() < 0 or ends.max() >= count:
                raise FormatError(
                    f"The relation {relation.name} points at no record. Try `provml recover` on the file."
                )
        self.new_subject: Flags = np.ones(len(table), bool)
        self.new_subject[1:] = self.subjects[1:] != self.subjects[:-1]
        self.new_pair = self.new_subject.copy()
        self.new_pair[1:] |= self.objects[1:] != self.objects[:-1]
        self.said: dict[tuple[str, ...], int] = {}
        """How often something was said of the pair of nodes at hand, by role and plan."""
