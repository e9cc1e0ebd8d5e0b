"""The whole way on real data: three MPI jobs, three provenance files, and two questions asked across them.

Run it with `python run_demo.py --output demo`; `make demo` does that in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from answers import compare_trainings, model_lineage
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sheets import write_sheets

HERE = Path(__file__).resolve().parent
MARK = ".made-by-the-digits-demo"
JOBS = [("curation", "curate.py", 4), ("preparation", "prepare.py", 2), ("learning", "learn.py", 4)]
QUESTIONS = [
    ("compare-trainings", "Which setting was best, and why?", compare_trainings),
    ("model-lineage", "Where does the model come from, back to the raw scans?", model_lineage),
]

console = Console()


def program(name: str) -> str:
    """Find a program beside this Python first, then on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        sys.exit(f"error: no {name} found; install this package with the extras mpich and offline, as `make demo` does")
    return found


def fresh_folder(folder: Path) -> None:
    """Make an empty folder, in place of one that an earlier demo left, and of no other."""
    if folder.exists():
        if not (folder / MARK).exists():
            sys.exit(f"error: {folder} is there and was not made by this demo; name another one with --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def run_job(command: list[str], name: str, progress: Progress) -> list[str]:
    """Run a job, moving its bar for each line that starts with `[k/n]`, and return all its lines."""
    bar = progress.add_task(name, total=None, said="starting")
    lines: list[str] = []
    # One thread a rank: four ranks share a laptop's cores.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as job:
        assert job.stdout is not None
        for line in job.stdout:
            lines.append(line.rstrip())
            if step := re.match(r"\[\d+/(\d+)\] (.*)", line):
                progress.update(bar, advance=1, total=int(step[1]), said=step[2])
    if job.returncode:
        progress.stop()
        console.print("\n".join(lines), markup=False, highlight=False)
        sys.exit(f"error: {name} ended with exit code {job.returncode}; what it said stands above")
    progress.update(bar, said="done")
    return lines


def main() -> None:
    """Run the jobs, then ask the questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for all files (default: demo)")
    folder = parser.parse_args().output
    mpiexec, provml = program("mpiexec"), program("provml")

    started = time.monotonic()
    fresh_folder(folder)
    write_sheets(folder / "raw")
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[said]}"),
    )
    said: list[str] = []
    with Progress(*columns, console=console) as progress:
        for name, script, ranks in JOBS:
            # `-m mpi4py`: an error on one rank ends the job, where plain Python would leave the others waiting.
            command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "mpi4py", str(HERE / script), str(folder)]
            said += run_job(command, name, progress)
    console.print(*[line for line in said if not line.startswith("[")], sep="\n", highlight=False, soft_wrap=True)

    files = [str(folder / f"{name}.h5") for name, _, _ in JOBS]
    for query, question, as_table in QUESTIONS:
        console.print(f"\n[bold]{question}[/]", highlight=False)
        answer = subprocess.run(
            [provml, "query", *files, query, "--format", "json"], stdout=subprocess.PIPE, check=True
        )
        console.print(as_table(json.loads(answer.stdout)))
        console.print(f"[dim]All of it: provml query {' '.join(files)} {query}[/]", highlight=False, soft_wrap=True)

    console.print(f"\n[bold]The files[/], made in {time.monotonic() - started:.0f} s", highlight=False)
    for path, what in [
        *((file, "provenance of a job: provml info, h5dump, pandas") for file in files),
        (f"{folder}/raw", "the scanned sheets"),
        (f"{folder}/digits.h5", "the learning dataset"),
        (f"{folder}/model.npz", "the model"),
    ]:
        console.print(f"  {path:<26} {what}", highlight=False)


if __name__ == "__main__":
    main()
