"""Job scripts with one's own values: what is asked for is in them, and nothing else is different."""

from __future__ import annotations

import difflib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provml_hpc.errors import UsageError
from provml_tools.cli import main
from provml_tools.slurm import scripts

KINDS = list(scripts.kinds())
SHIPPED = sorted(scripts.folder().glob("*.sbatch"))


def changed(kind: str, text: str) -> list[str]:
    """Return the lines that a script has and its shipped form has not."""
    return [line[2:] for line in difflib.ndiff(scripts.text_of(kind).splitlines(), text.splitlines()) if line[0] == "+"]


def test_every_script_is_a_kind_and_is_told_of(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    assert main(["slurm-template"]) == 0
    said = capsys.readouterr().out
    assert sorted(line.split()[0] for line in said.splitlines()) == sorted(KINDS)
    page = (repository / "slurm" / "README.md").read_text()
    assert [path.name for path in SHIPPED if f"({path.name})" not in page] == []


@pytest.mark.parametrize("kind", KINDS)
def test_without_answers_it_is_the_shipped_script(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slurm-template", kind]) == 0
    assert capsys.readouterr().out == scripts.text_of(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_can_be_another(kind: str, tmp_path: Path) -> None:
    other = {"time": "2-00:00:00", "program": "python train.py --lr 0.1", "inputs": "'a b.h5' c.h5"}
    there = scripts.settings(scripts.text_of(kind))
    assert {"activate", "job-name", "time", "account", "partition"} <= {setting.name for setting in there}
    answers = {setting.name: other.get(setting.name, "7") for setting in there}
    filled = scripts.fill(kind, answers)
    assert {setting.name: setting.value for setting in scripts.settings(filled)} == answers
    assert all(setting.active for setting in scripts.settings(filled))
    assert len(changed(kind, filled)) == len(answers)
    script = tmp_path / "job.sbatch"
    script.write_text(filled)
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=True).stderr == ""


def test_the_lines_that_were_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "train.sbatch"
    answers = ["--nodes", "8", "--account", "abc123", "--program", 'python unet.py "$OUTPUT"', "--provenance", "u.h5"]
    assert main(["slurm-template", "several-nodes", *answers, "--activate", "", "-o", str(path)]) == 0
    assert [line.partition(" # ")[0].rstrip() for line in changed("several-nodes", path.read_text())] == [
        f"#   sbatch {path}            in the folder where your program finds its files",
        f"#   sbatch --nodes=2 {path}  an option of the command line comes before that of the script",
        "#SBATCH --nodes=8",
        "#SBATCH --account=abc123",
        "ACTIVATE=",
        "OUTPUT=u.h5",
        'PROGRAM=(python unet.py "$OUTPUT")',
    ]
    assert "sbatch --test-only" in capsys.readouterr().err


def test_a_file_that_is_there_stays(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "train.sbatch"
    path.write_text("mine")
    assert main(["slurm-template", "one-node", "-o", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodes", "0"),
        ("nodes", "many"),
        ("time", "tomorrow"),
        ("job-name", "two words"),
        ("job-name", "x\n#SBATCH --uid=0"),
        ("account", ""),
        ("partition", "gpu#1"),
        ("program", "python x.py; rm -rf ."),
        ("program", "python x.py)"),
        ("program", 'python "x.py'),
        ("program", ""),
        ("activate", "a\nb"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slurm-template", "one-node", f"--{name}", value]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert name in said.err


def test_a_setting_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="one-node has no array"):
        scripts.fill("one-node", {"array": "0-9"})
    with pytest.raises(UsageError, match="choose one of array, convert"):
        scripts.fill("no-such", {})


def test_a_place_with_spaces_is_one_word(tmp_path: Path) -> None:
    place = tmp_path / "my environment's"
    text = scripts.fill("one-node", {"activate": str(place), "provenance": "~/runs/$USER.h5"})
    lines = "\n".join(line for line in text.splitlines() if line.startswith(("ACTIVATE=", "OUTPUT=")))
    done = subprocess.run(
        ["bash", "-c", f'{lines}\necho "$ACTIVATE"; echo "$OUTPUT"'],
        capture_output=True,
        text=True,
        env={"HOME": "/home/me", "USER": "me"},
        check=True,
    )
    assert done.stdout.splitlines() == [str(place), "/home/me/runs/me.h5"]


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    """Enter keeps what the script says, and what cannot be meant is asked for again."""
    path = tmp_path / "mine.sbatch"
    command = [sys.executable, "-m", "provml_tools.cli", "slurm-template", "one-node", "--time", "30", "-o", str(path)]
    here, there = pty.openpty()
    process = subprocess.Popen(command, stdin=there, stderr=there, stdout=subprocess.DEVNULL, env=dict(os.environ))
    os.close(there)
    os.write(here, b"fit\nnone\n1\n2\n" + b"\n" * 2 + b"abc\n" + b"\n" * 8)
    said = b""
    while b"is written" not in said:
        said += os.read(here, 4096)
    assert process.wait(60) == 0
    os.close(here)
    assert b"'none' is no number" in said
    assert b"time (" not in said, "it was given"
    found = {setting.name: setting for setting in scripts.settings(path.read_text())}
    assert [found[name].value for name in ("job-name", "nodes", "ntasks-per-node", "time")] == ["fit", "1", "2", "30"]
    assert (found["account"].value, found["account"].active) == ("abc", True)
    assert not found["partition"].active


def test_the_shell_has_nothing_to_say_against_the_scripts() -> None:
    if shutil.which("shellcheck") is None:
        assert not os.environ.get("CI"), "CI installs shellcheck"
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", *SHIPPED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
