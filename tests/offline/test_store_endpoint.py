"""Stores behind an address, really running: Oxigraph from its wheel, and Virtuoso where it is installed."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from provml_hpc.errors import StateError, UsageError
from provml_hpc.vocabulary import NAMESPACES
from provml_tools import cli
from provml_tools.query import Engine, ask, catalog, free
from provml_tools.rdf import quads
from provml_tools.store import Endpoint, asking_endpoint
from provml_tools.store.engines import names_graphs
from provml_tools.store.http import PASSWORD, USER, Client, check_address
from tests.offline import query_fixtures as made
from tests.offline.graphs import sampled_training
from tests.offline.test_store import later, said_by, write

STARTS_WITHIN = 60.0


@dataclass(frozen=True)
class Server:
    """A store that runs on this machine."""

    name: str
    load: str
    """The address of its Graph Store service."""
    query: str
    """That of its SPARQL query service."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], folder: Path, address: str) -> Iterator[None]:
    """Start a server, wait until it answers, and end it by its pid."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            until = time.monotonic() + STARTS_WITHIN
            while True:
                assert process.poll() is None, (folder / "output").read_text("utf-8", "replace")
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                except urllib.error.HTTPError as error:
                    error.close()  # it answers, be it only that this is no query
                except OSError:
                    assert time.monotonic() < until, f"{command[0]} did not start"
                    time.sleep(0.1)
                    continue
                break
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


@pytest.fixture(scope="module")
def oxigraph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binary = Path(sys.executable).with_name("oxigraph")
    assert binary.exists(), "the package oxigraph belongs to the extra `dev`: pip install -e '.[dev]'"
    folder = tmp_path_factory.mktemp("oxigraph")
    here = f"127.0.0.1:{free_port()}"
    with running([str(binary), "serve", "--bind", here], folder, f"http://{here}/query"):
        yield Server("oxigraph", f"http://{here}/store", f"http://{here}/query")


VIRTUOSO = """
[Database]
DatabaseFile = virtuoso.db
ErrorLogFile = virtuoso.log
LockFile = virtuoso.lck
TransactionFile = virtuoso.trx
xa_persistent_file = virtuoso.pxa
FileExtend = 200
[TempDatabase]
DatabaseFile = temp.db
TransactionFile = temp.trx
[Parameters]
ServerPort = 127.0.0.1:{sql}
DisableUnixSocket = 1
NumberOfBuffers = 4000
MaxDirtyBuffers = 3000
DirsAllowed = .
[HTTPServer]
ServerPort = 127.0.0.1:{http}
ServerThreads = 4
[SPARQL]
ResultSetMaxRows = 1500
"""


@pytest.fixture(scope="module")
def virtuoso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binary = shutil.which("virtuoso-t")
    if binary is None:
        pytest.skip("Virtuoso is not installed: apt-get install virtuoso-opensource-7")
    folder = tmp_path_factory.mktemp("virtuoso")
    sql, web = free_port(), free_port()
    (folder / "virtuoso.ini").write_text(VIRTUOSO.format(sql=sql, http=web))
    here = f"http://127.0.0.1:{web}"
    with running([binary, "+foreground", "+configfile", "virtuoso.ini"], folder, f"{here}/sparql"):
        yield Server("virtuoso", f"{here}/sparql-graph-crud-auth", f"{here}/sparql")


@pytest.fixture(params=["oxigraph", "virtuoso"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    found: Server = request.getfixturevalue(request.param)
    if found.name == "virtuoso":
        # What a new database of Virtuoso has; it asks for them by HTTP digest.
        monkeypatch.setenv(USER, "dba")
        monkeypatch.setenv(PASSWORD, "dba")
    return found


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(graph, tmp_path) for graph in made.jobs()]


def test_loads_asks_and_replaces(server: Server, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    graphs = made.jobs()
    assert cli.main(["load", "--endpoint", server.load, *map(str, files)]) == 0
    assert capsys.readouterr().out == "3 loaded\n"
    with asking_endpoint(server.query) as engine:
        assert {run.file for run in engine.runs} == set(files)
        each = "SELECT ?g (COUNT(*) AS ?n) { GRAPH ?g { ?s ?p ?o } } GROUP BY ?g"
        sizes = free(engine, each)
        for name in catalog():
            assert said_by(engine, name) == said_by(Engine(graphs), name), name
        assert engine.notes() == []

    # The same again, and a later version of one: nothing of the old one stays.
    assert cli.main(["load", "--endpoint", server.load, *map(str, files)]) == 0
    with asking_endpoint(server.query) as engine:
        assert free(engine, each) == sizes
    files[2].unlink()
    changed = later(made.learning())
    assert cli.main(["load", "--endpoint", server.load, str(write(changed, files[2].parent))]) == 0
    with asking_endpoint(server.query) as engine:
        ends = free(engine, "SELECT ?end { ?t a provml:TrainingExecution ; provml:endNs ?end } ORDER BY ?end")
        assert not isinstance(ends, bool)
        assert [row["end"] for row in ends.rows] == changed.nodes["TrainingExecution"].columns["end_ns"].tolist()  # type: ignore[union-attr]
        assert free(engine, "ASK { ?m provml:hasSetting ?s }") is False


def test_what_a_training_cost_comes_from_the_telemetry_in_the_files(server: Server, tmp_path: Path) -> None:
    assert cli.main(["load", "--endpoint", server.load, str(write(sampled_training(), tmp_path))]) == 0
    (own,) = said_by(Engine([sampled_training()]), "cost")[1]
    assert own["GPU hours"] > 0
    with asking_endpoint(server.query) as engine:
        # The server is that of the whole module, and holds what other tests have loaded: of the same experiment, too.
        (found,) = [row for row in said_by(engine, "cost")[1] if row["iri"] == own["iri"]]
    del own["study"]
    assert {name: found[name] for name in own} == own


def test_nanoseconds_survive_where_times_are_cut(server: Server, tmp_path: Path) -> None:
    job = made.Builder("to-the-nanosecond", "curation", made.MONDAY + 123_456_789)
    graph = job.graph()
    Endpoint(server.load).load(graph, tmp_path / "a.h5")
    ask_for = (
        """SELECT ?ns ?time { ?run provml:startNs ?ns ; prov:startedAtTime ?time ; rdfs:label "to-the-nanosecond" }"""
    )
    with asking_endpoint(server.query) as engine:
        [row] = engine.select(ask_for)
    assert row["ns"] == made.MONDAY + 123_456_789
    fraction = str(row["time"]).rpartition(".")[2].rstrip("Z")
    assert fraction == {"oxigraph": "123456789", "virtuoso": "123456"}[server.name]


def test_every_kind_of_query_and_answer(server: Server, tmp_path: Path) -> None:
    graph = made.preparation()
    Endpoint(server.load).load(graph, tmp_path / "a.h5")
    with asking_endpoint(server.query) as engine:
        assert free(engine, "ASK { ?s a provml:LearningDataset }") is True
        triples = free(engine, "CONSTRUCT { ?s a provml:LearningDataset } WHERE { ?s a provml:LearningDataset }")
        assert not isinstance(triples, bool)
        assert triples.columns == ["subject", "predicate", "object"]
        assert {str(row["predicate"]) for row in triples.rows} == {NAMESPACES["rdf"] + "type"}
        iri = engine.runs[0].graph
        named = free(engine, f"SELECT (COUNT(*) AS ?n) FROM <{iri}> {{ ?s ?p ?o }}")
        assert not isinstance(named, bool)
        assert named.rows[0]["n"] > 10
        values = engine.select('SELECT ?v { ?s rdfs:label "tile_size" ; mls:hasValue ?v }')
        assert values == [{"v": 64}]
        with pytest.raises(UsageError, match="line 1"):
            engine.ask("SELECT ?s { ?s ?p }")
        with pytest.raises(UsageError, match="only SELECT"):
            engine.ask("INSERT DATA { <urn:a> <urn:b> <urn:c> }")


def test_an_answer_that_the_server_cuts_is_an_error(
    virtuoso: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER, "dba")
    monkeypatch.setenv(PASSWORD, "dba")
    for graph in made.jobs():
        Endpoint(virtuoso.load).load(graph, tmp_path / "a.h5")
    with asking_endpoint(virtuoso.query) as engine, pytest.raises(StateError, match="ResultSetMaxRows"):
        free(engine, "SELECT * { ?s ?p ?o . ?x a ?c }")


def test_a_wrong_password_is_told(virtuoso: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = made.curation()
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(StateError, match=f"Set {USER}"):
        Endpoint(virtuoso.load).load(graph, tmp_path / "a.h5")
    monkeypatch.setenv(USER, "dba")
    monkeypatch.setenv(PASSWORD, "guessed")
    with pytest.raises(StateError, match=r"[Cc]heck the password"):
        Endpoint(virtuoso.load).load(graph, tmp_path / "a.h5")


class Asks(http.server.BaseHTTPRequestHandler):
    """A server that wants a password, and keeps what it was sent."""

    seen: ClassVar[list[tuple[str, str, str | None, bytes]]] = []

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, self.headers.get("Authorization"), body))
        if self.headers.get("Authorization") is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="provenance"')
        else:
            self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def asks() -> Iterator[str]:
    Asks.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asks) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{one.server_address[1]}/ds/data"
        one.shutdown()
        thread.join(10)


def test_one_put_a_run_with_the_whole_graph(asks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "ada")
    monkeypatch.setenv(PASSWORD, "l:ovelace")
    graph = made.curation()
    Endpoint(f"{asks}?realm=a b".replace(" ", "%20")).load(graph, tmp_path / "a.h5")
    [(method, path, proof, body)] = Asks.seen
    assert (method, path.partition("&")[0]) == ("PUT", "/ds/data?realm=a%20b")
    assert path.partition("&")[2].startswith("graph=urn%3Auuid%3A")
    assert proof == "Basic YWRhOmw6b3ZlbGFjZQ=="
    lines = body.decode().splitlines()
    assert len(lines) == sum(1 for _ in quads(graph)) + 2, "all statements, and the place of the file"


def test_netrc_is_read(asks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    Endpoint(asks).load(made.curation(), tmp_path / "a.h5")
    assert Asks.seen[0][2] == "Basic YWRhOnNlY3JldA=="
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(StateError, match=f"401.*{USER}"):
        Endpoint(asks).load(made.curation(), tmp_path / "a.h5")


def test_no_password_in_the_clear(asks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "ada")
    monkeypatch.setenv(PASSWORD, "secret")
    monkeypatch.setattr("provml_tools.store.http._is_here", lambda host: False)
    with pytest.raises(StateError, match="401"):
        Endpoint(asks).load(made.curation(), tmp_path / "a.h5")
    monkeypatch.setattr(Asks, "do_HEAD", Asks.do_PUT)
    with pytest.raises(StateError, match="https://"):
        Endpoint(asks).load(made.curation(), tmp_path / "a.h5")
    with pytest.raises(StateError, match="https://"):
        Client(asks).send("PUT", asks, {}, b"short")
    assert {proof for _, _, proof, _ in Asks.seen} == {None}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("localhost:7878", "no address"),
        ("file:///etc/passwd", "no address"),
        ("http://", "no address"),
        ("http://host:port/x", "no address"),
        ("http://host/a b", "no address"),
        ("http://ada:secret@host/sparql", USER),
        ("http://host/x#y", "fragment"),
    ],
)
def test_addresses_that_cannot_be_meant(address: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_address(address)


def test_nobody_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"http://127.0.0.1:{free_port()}/query"
    assert cli.main(["query", "--endpoint", address, "model-lineage"]) == 1
    told = capsys.readouterr().err
    assert "does not answer" in told
    assert told.count("\n") == 1


def test_the_wrong_service_is_told(oxigraph: Server, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"docs/stores\.md"):
        Endpoint(oxigraph.query.replace("/query", "/nothing")).load(made.curation(), tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT * FROM <urn:g> { ?s ?p ?o }", True),
        ("SELECT * from named <urn:g> { GRAPH ?g { ?s ?p ?o } }", True),
        ("# from afar\nSELECT * { ?s ?p ?o }", False),
        ('SELECT * { ?s ?p "from here" }', False),
        ("SELECT * { ?s ?p 'it\\'s from here' }", False),
        ('SELECT * { ?s ?p """a "quoted" from""" }', False),
        ("SELECT ?from { ?from <urn:from> ?o } # FROM", False),
        ('SELECT * FROM <urn:x#y> { ?s ?p "#" }', True),
    ],
)
def test_a_query_that_names_its_graphs_is_known(text: str, said: bool) -> None:
    assert names_graphs(text) is said


def test_answers_over_the_wire_have_the_same_order(oxigraph: Server, tmp_path: Path) -> None:
    for graph in made.jobs():
        Endpoint(oxigraph.load).load(graph, tmp_path / "a.h5")
    with asking_endpoint(oxigraph.query) as engine:
        assert [row["iri"] for row in ask(engine, "model-lineage").rows] == [
            row["iri"] for row in ask(Engine(made.jobs()), "model-lineage").rows
        ]
