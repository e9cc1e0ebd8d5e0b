"""From the tables of a graph to statements, mechanically: the vocabulary alone tells what becomes of what.

The statements come as text in the syntax of N-Quads (or N-Triples), subject after subject in the order of ids, in
pieces of bounded size. What is held besides the graph itself is a reference to the uuid of each node and a few
numbers for each row of the relations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath

import numpy as np

from provml_hpc import identity, vocabulary
from provml_hpc._version import __version__
from provml_hpc.assembly.graph import ABSENT, Graph
from provml_hpc.errors import FormatError
from provml_hpc.vocabulary import Field, Relation, expand
from provml_tools.rdf import terms, uuids
from provml_tools.rdf.columns import SortedTable, Tails, field_tails
from provml_tools.rdf.samples import sample_statements

PIECE = 4096
"""How many rows are turned into text before it is handed on."""

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
    return _Mapping(graph, terms.check_base(base), named).statements(samples)


class _Mapping:
    """One conversion of one graph."""

    def __init__(self, graph: Graph, base: str, named: bool) -> None:
        self._graph = graph
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
        self._uuids = self._collect_uuids()
        self._links: list[_Links] = []
        for name, table in graph.relations.items():
            if len(table):
                if name not in vocabulary.RELATION:
                    raise FormatError(f"The relation {name!r} is not known to this release. Use a newer one.")
                self._links.append(
                    _Links(vocabulary.RELATION[name], SortedTable(table, "subject", "object"), len(self._uuids))
                )
        self._links.sort(key=lambda links: links.relation.code)

    def _collect_uuids(self) -> list[str]:
        count = sum(len(table) for _, table in self._nodes)
        found = [""] * count
        for cls, table in self._nodes:
            ids = table.keys[0]
            if ids[0] < 0 or ids[-1] >= count:
                raise FormatError(f"The ids of {cls.name} are not dense. Try `provml recover` on the file.")
            for at, uuid in zip(ids.tolist(), table.values("uuid", 0, len(table)), strict=True):
                found[at] = terms.check_uuid(uuid)
        if "" in found:
            raise FormatError("Two nodes have the same id. Try `provml recover` on the file.")
        return found

    def statements(self, samples: bool) -> Iterator[str]:
        yield self._describe_bundle()
        types = {cls.name: [self._type_tail(name) for name in terms.class_types(cls.name)] for cls, _ in self._nodes}
        for start, stop in self._blocks():
            yield from self._block(start, stop, types)
        if samples:
            yield from sample_statements(self._graph, self._uuids, self._base, self._end)
        yield self._describe_roles()

    def _type_tail(self, name: str) -> str:
        return f" {terms.TYPE} <{expand(name)}>{self._end}"

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of ids with about PIECE rows each; an id with more rows than that stands alone."""
        weights = np.ones(len(self._uuids), np.int64)
        for links in self._links:
            weights += np.bincount(links.subjects, minlength=len(weights))
        reached = np.cumsum(weights)
        start = 0
        while start < len(weights):
            before = reached[start - 1] if start else 0
            stop = max(int(np.searchsorted(reached, before + PIECE, "right")), start + 1)
            yield start, stop
            start = stop

    def _block(self, start: int, stop: int, types: dict[str, Tails]) -> Iterator[str]:
        about: list[Tails] = [[] for _ in range(start, stop)]
        for cls, table in self._nodes:
            first, last = np.searchsorted(table.keys[0], (start, stop)).tolist()
            places = (table.keys[0][first:last] - start).tolist()
            for place in places:
                about[place] += types[cls.name]
            for field in vocabulary.fields(cls.name):
                for row, tail in field_tails(table, field, first, last, self._end):
                    about[places[row]].append(tail)
        beside: list[str] = []
        for links in self._links:
            first, last = np.searchsorted(links.subjects, (start, stop)).tolist()
            for piece in range(first, last, PIECE):
                self._relate(links, piece, min(piece + PIECE, last), start, about, beside)
                if last - first > PIECE:
                    # A node with very many relations: hand on what there is, so that memory does not grow with them.
                    yield self._text(start, about) + "".join(beside)
                    about = [[] for _ in about]
                    beside = []
        yield self._text(start, about) + "".join(beside)

    def _text(self, start: int, about: list[Tails]) -> str:
        parts = []
        for at, tails in enumerate(about, start):
            if tails:
                subject = f"<{self._base}{self._uuids[at]}>"
                parts.append(subject + subject.join(tails))
        return "".join(parts)

    def _relate(self, links: _Links, first: int, last: int, start: int, about: list[Tails], beside: list[str]) -> None:
        """Say rows `first` to `last` of a relation: directly in `about`, and with their fields in `beside`."""
        subjects = links.subjects[first:last].tolist()
        objects = links.objects[first:last].tolist()
        before = f" <{expand(links.relation.iri)}> <{self._base}"
        end = ">" + self._end
        nodes = self._uuids
        for row in np.flatnonzero(links.new_pair[first:last]).tolist():
            about[subjects[row] - start].append(f"{before}{nodes[objects[row]]}{end}")
        if links.relation.implies:
            implied = self._type_tail(links.relation.implies)
            for row in np.flatnonzero(links.new_subject[first:last]).tolist():
                # Two relations may imply one type, and a class may have it already: it is said once.
                if implied not in about[subjects[row] - start]:
                    about[subjects[row] - start].append(implied)
        if links.relation.qualified and links.relation.fields:
            self._qualify(links, first, last, start, about, beside)

    def _qualify(self, links: _Links, first: int, last: int, start: int, about: list[Tails], beside: list[str]) -> None:
        relation = links.relation
        assert relation.qualified
        leads, kind, to = relation.qualified
        before = f" <{expand(leads)}> <{self._base}"
        is_kind, to_object = self._type_tail(kind), f" <{expand(to)}> <{self._base}"
        end = ">" + self._end
        said: list[Tails] = [[] for _ in range(first, last)]
        known: list[list[str]] = [[] for _ in range(first, last)]
        for field in relation.fields:
            if field.iri == _HAD_ROLE or field.type == "reference":
                self._point(links.table, field, first, last, said, known)
            else:
                for row, tail in field_tails(links.table, field, first, last, self._end):
                    said[row].append(tail)
        columns = (links.subjects, links.objects, links.new_pair)
        rows = zip(*(column[first:last].tolist() for column in columns), said, known, strict=True)
        last_subject, seed = -1, b""
        for subject, other, new_pair, tails, key in rows:
            if new_pair:
                links.said.clear()
            if not tails:
                continue
            if subject != last_subject:
                last_subject, seed = subject, uuids.seed(self._uuids[subject])
            target = self._uuids[other]
            # One of several statements of the same two nodes in the same role is known by its place among them.
            links.said[tuple(key)] += 1
            uuid = uuids.below(seed, uuids.place(relation.name, target, *key, links.said[tuple(key)]))
            about[subject - start].append(f"{before}{uuid}{end}")
            node = f"<{self._base}{uuid}>"
            beside.append(f"{node}{is_kind}{node}{to_object}{target}{end}{node}{node.join(tails)}")

    def _point(
        self, table: SortedTable, field: Field, first: int, last: int, said: list[Tails], known: list[list[str]]
    ) -> None:
        """Say what a row of a relation points at beside its object: a role, or another record such as the plan."""
        if not table.has(field.name):
            # An older file: the uuid is what it would be if the column were there and empty.
            for names in known:
                names.append("")
            return
        before = f" <{expand(field.iri)}> <{self._base}"
        end = ">" + self._end
        for row, value in enumerate(table.values(field.name, first, last)):
            uuid = ""
            if field.type == "reference":
                if value != ABSENT:
                    if not 0 <= value < len(self._uuids):
                        raise FormatError(
                            f"{table.name}.{field.name} points at no record. Try `provml recover` on the file."
                        )
                    uuid = self._uuids[value]
            elif value:
                uuid = self._role(value)
            if uuid:
                said[row].append(f"{before}{uuid}{end}")
            known[row].append(uuid)

    def _role(self, name: str) -> str:
        found = self._roles.get(name)
        if found is None:
            found = self._roles[name] = identity.named(self._graph.run.authority, "Role", name)
        return found

    def _describe_roles(self) -> str:
        parts = []
        for name, uuid in sorted(self._roles.items()):
            subject = f"<{self._base}{uuid}>"
            label = f" <{expand('rdfs:label')}> {terms.literal(name)}{self._end}"
            parts.append(f"{subject}{self._type_tail('prov:Role')}{subject}{label}")
        return "".join(parts)

    def _describe_bundle(self) -> str:
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
        self.new_subject: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.ones(len(table), bool)
        self.new_subject[1:] = self.subjects[1:] != self.subjects[:-1]
        self.new_pair = self.new_subject.copy()
        self.new_pair[1:] |= self.objects[1:] != self.objects[:-1]
        self.said: Counter[tuple[str, ...]] = Counter()
        """How often something was said of the pair of nodes at hand, by role and plan."""
