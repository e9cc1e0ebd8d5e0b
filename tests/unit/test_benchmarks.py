"""The harness of the benchmarks: its statistics, its random orders, its lines. Nothing here is timed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import arms, harness, launch, model, overhead, peers, report
from benchmarks.harness import Estimate


def test_median_takes_the_middle_of_what_it_is_given_in_any_order() -> None:
    assert harness.median([3, 1, 2]) == 2
    assert harness.median([4, 1, 3, 2]) == 2.5
    with pytest.raises(ValueError, match="nothing"):
        harness.median([])


def test_a_quantile_is_the_smallest_value_that_covers_its_share() -> None:
    values = list(range(1, 101))
    assert [harness.quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert harness.quantile([7.0], 0.5) == 7.0


def test_the_interval_holds_the_median_and_shrinks_to_a_point_where_nothing_varies() -> None:
    found = harness.estimate([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (found.median, found.count) == (3.0, 5)
    assert 1.0 <= found.low <= found.median <= found.high <= 100.0
    assert found.low < found.high
    still = harness.estimate([2.0] * 9)
    assert (still.low, still.median, still.high) == (2.0, 2.0, 2.0)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    import random

    draw = random.Random(3)
    covered = 0
    for trial in range(200):
        found = harness.estimate([draw.gauss(10, 1) for _ in range(15)], seed=trial, resamples=300)
        covered += found.low <= 10 <= found.high
    assert 170 <= covered <= 200


def test_a_ratio_is_taken_round_by_round() -> None:
    # The machine is ten times slower in the second round; both sides see it.
    found = harness.ratio([2.0, 20.0, 2.2], [1.0, 10.0, 1.1])
    assert found.median == pytest.approx(2.0)
    assert found.low == pytest.approx(found.high)
    with pytest.raises(ValueError, match="zip"):
        harness.ratio([1.0], [1.0, 2.0])


def test_orders_are_random_repeatable_and_whole() -> None:
    names = ["a", "b", "c", "d"]
    found = list(harness.orders(names, 50, seed=1))
    assert found == list(harness.orders(names, 50, seed=1))
    assert found != list(harness.orders(names, 50, seed=2))
    assert all(sorted(order) == names for order in found)
    assert {order[0] for order in found} == set(names)


def test_compare_runs_every_arm_once_a_round_and_throws_the_warm_up_away() -> None:
    calls: list[str] = []

    def arm(name: str) -> dict[str, float]:
        calls.append(name)
        return {"n": float(len(calls))}

    found = harness.compare({"a": lambda: arm("a"), "b": lambda: arm("b")}, 5, warm_up=2)
    assert sorted(calls) == ["a"] * 7 + ["b"] * 7
    assert min(found["a"]["n"] + found["b"]["n"]) == 5.0
    assert [len(found[name]["n"]) for name in "ab"] == [5, 5]


def test_results_are_json_lines_with_the_machine_first(tmp_path: Path) -> None:
    lines = harness.Report("call")
    lines.measured("a step", "log", "ns", [1.0, 2.0, 3.0], clock="cpu")
    assert lines.target("a ratio", 0.5, Estimate(0.4, 0.3, 0.6, 3), "ratio")
    assert not lines.target("a size", 24, Estimate(25, 25, 25, 1), "bytes")
    assert lines.target("too noisy", 0.5, Estimate(0.1, -9, 9, 3), "%", resolved=False) is None
    path = lines.write(tmp_path)
    found = harness.read(path)
    assert [line["kind"] for line in found] == ["machine", "measurement", "target", "target", "target"]
    assert found[1]["values"] == [1.0, 2.0, 3.0]
    assert [line["met"] for line in found[2:]] == [True, False, None]
    assert all(json.loads(text) for text in path.read_text().splitlines())
    host = os.uname().nodename
    assert host not in path.read_text() or len(host) < 4
    assert str(Path.home()) not in path.read_text()


@pytest.mark.parametrize("count", [1, 3, 30])
def test_every_arm_does_the_work_that_its_name_says(count: int, tmp_path: Path) -> None:
    import provml_hpc as provml

    with (tmp_path / "lines.jsonl").open("w") as file, arms.training(tmp_path, "on") as (_, training):
        ways = arms.floors(count, file) | arms.captured(training, count)
        ticks = iter(range(1000))
        for loop in ways.values():
            assert loop(range(5), lambda: next(ticks)) == 1
    rows = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert len(rows) == 10  # with time and without
    assert [len(row) for row in rows[:1] + rows[-1:]] == [2 + count, 1 + count]
    with provml.open(tmp_path / "on.h5") as reader:
        for name in arms.measures(count):
            samples = reader.samples(measure=name)
            assert samples["step"].tolist() == [*range(5)] * 2  # log, then series
            assert samples["value"][0] == arms.value(arms.measures(count).index(name))


def test_a_run_that_is_off_writes_nothing_and_leaves_the_setting_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVML_DISABLE", "0")
    with arms.training(tmp_path, "off", off=True) as (_, training):
        training.log(0, loss=1.0)
    assert list(tmp_path.iterdir()) == []
    assert os.environ["PROVML_DISABLE"] == "0"


def test_the_model_finds_the_terms_that_its_points_were_made_from() -> None:
    true = [2e-3, 3e-5, 5e-9]
    points = [(n, b, model.predict(true, n, b)) for n in (1, 2, 4, 8, 16, 48) for b in (0, 4096, 65536, 1 << 20)]
    assert model.fit(points) == pytest.approx(true, rel=1e-6)


def test_the_model_has_no_negative_terms() -> None:
    points = [(n, b, 1e-3 + n * b * 1e-9 - 2e-5 * math.log2(n)) for n in (1, 2, 4, 8) for b in (4096, 65536)]
    assert min(model.fit(points)) >= 0


def test_the_model_is_checked_beyond_the_ranks_and_on_every_size_that_it_was_fitted_to() -> None:
    points = [(n, b, 1.0) for n in (1, 2, 4, 8, 16, 48) for b in (4096, 65536, 1 << 20)]
    known, held = model.apart(points)
    assert sorted(known + held) == sorted(points)
    assert {n for n, _, _ in known} == {1, 2, 4, 8, 16}
    assert len(known) > 2 * len(held) - 3
    assert {b for n, b, _ in held if n < 48} == {4096, 65536, 1 << 20}


def test_writers_are_as_many_as_keep_each_below_its_share() -> None:
    # 10,000 ranks of 200 bytes each 10 ms are 200 MB a second, each byte 1.5 ns: three tenths of the time.
    share, writers = model.writers_for(1.5e-9, 10_000, 10, 20)
    assert share == pytest.approx(0.3)
    assert writers == 60
    assert model.writers_for(1.5e-9, 48, 1000, 3)[1] == 1


def test_tables_go_between_the_markers_and_nowhere_else() -> None:
    page = "before\n<!-- call -->\nold\n<!-- /call -->\nafter\n"
    assert report.put(page, "call", "new") == "before\n<!-- call -->\nnew\n<!-- /call -->\nafter\n"
    with pytest.raises(ValueError, match="no marker"):
        report.put("nothing here", "call", "new")


@pytest.mark.parametrize("name", report.PAGES)
def test_the_tables_of_the_pages_are_those_of_the_stored_results(name: str) -> None:
    page = (harness.ROOT / "docs" / name).read_text()
    assert report.filled(page, report.PAGES[name], report.stored()) == page, "run python -m benchmarks.report"


def test_a_table_says_when_on_which_code_and_beside_which_load_it_was_measured(tmp_path: Path) -> None:
    lines = harness.read(harness.Report("call").write(tmp_path))
    lines[0] |= {"time": "2026-11-25T17:35:12+00:00", "code": "abc1234+", "load_before": 0.53, "load_after": 1.0}
    old = {"kind": "machine", "time": "2026-11-23T08:19:07+00:00", "load_before": 8.59}
    assert report.measured([old, *lines]) == (
        "*Measured 2026-11-23 08:19 UTC (code of that day, load 8.6); "
        "2026-11-25 17:35 UTC (code abc1234+, load 0.5 to 1.0).*"
    )


def test_large_runs_are_whole_and_conversion_formats_the_same_quads() -> None:
    import io

    from benchmarks import conversion, large
    from provml_tools.rdf import convert

    graph = large.preparation(3)
    text, again = io.BytesIO(), io.BytesIO()
    convert([graph], text)
    columns = conversion.columns_of(text.getvalue().decode())
    conversion.bare(columns, again)
    assert sorted(text.getvalue().splitlines()) == sorted(again.getvalue().splitlines())
    rows = io.BytesIO()
    conversion.by_rows([*conversion.rows_of(columns)], rows)
    assert rows.getvalue() == again.getvalue()
    # The files that are made have quotes in their names: there is something to escape.
    assert b'\\"' in text.getvalue()


def test_the_tables_of_validation_bring_time_and_memory_together(tmp_path: Path) -> None:
    lines = harness.Report("validation")
    for arm, seconds in (("pySHACL", 50.0), ("provml validate, shapes", 1.0)):
        lines.measured("validation of 9 triples: CPU", arm, "s", [seconds], clock="cpu")
        lines.measured("validation of 9 triples: memory at its most", arm, "MiB", [seconds * 2])
    for by, count in (("records", 5), ("samples", 7)):
        facts = {by: count} | ({"relations": 6} if by == "records" else {})
        lines.measured(f"memory at its most, by {by}", "validate", "MiB", [100.0], **facts)
        lines.measured(f"CPU, by {by}", "validate", "s", [2.0], **facts)
    results = {"validation": harness.read(lines.write(tmp_path))}
    assert "| validation of 9 triples | pySHACL | 50 | 100 |" in report.TABLES["checking"](results)
    assert report.TABLES["memory"](results).splitlines()[2:] == [
        "| `provml validate` | 5 records and 6 relations | 100 | 2 |",
        "| `provml validate` | 7 samples | 100 | 2 |",
    ]


def test_a_launch_forgets_the_launcher_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_RANK", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    env = launch.environment({"X": "1"})
    assert "PYTHONDONTWRITEBYTECODE" not in env  # a package that is compiled at each start costs twice as much
    assert "PMI_RANK" not in env
    assert "OMPI_COMM_WORLD_RANK" not in env
    assert env["X"] == "1"


def test_a_launch_takes_the_path_of_a_python_from_where_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The job runs in a folder of its own, and `--python .venv/bin/python` is what the page says.
    (tmp_path / "bin").mkdir()
    for name in ("python", "mpiexec"):
        (tmp_path / "bin" / name).write_text('#!/bin/sh\nfor last; do :; done\necho "[\\"$3\\"]" > "$last"\n')
        (tmp_path / "bin" / name).chmod(0o700)
    monkeypatch.chdir(tmp_path)
    assert launch.job("a.module", 2, {}, python="bin/python", timeout=20) == [str(tmp_path / "bin" / "python")]


def test_a_python_that_does_not_start_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, sound = tmp_path / "shims" / "python3.8", tmp_path / ".pyenv" / "versions" / "3.8.18" / "bin" / "python"
    for path, text in ((broken, "#!/bin/sh\nexit 127\n"), (sound, "#!/bin/sh\nexit 0\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o700)
    monkeypatch.setenv("PATH", str(broken.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert peers.interpreter("3.8") == str(sound)
    sound.unlink()
    assert peers.interpreter("3.8") is None


def test_a_slow_disk_is_one_while_the_block_lasts(tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    with overhead.beside("a slow disk", tmp_path):
        until = time.monotonic() + 20
        while not (busy.exists() and busy.stat().st_size) and time.monotonic() < until:
            time.sleep(0.01)
        assert busy.stat().st_size
    before = busy.stat().st_mtime_ns
    time.sleep(0.05)
    assert busy.stat().st_mtime_ns == before
    with overhead.beside("", tmp_path):
        pass


def test_the_job_script_is_valid_bash() -> None:
    script = harness.ROOT / "slurm" / "overhead_48gpu.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=20)
    assert "#SBATCH --nodes=12" in script.read_text()
