"""Where journals lie, and who may see them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from provml_hpc.errors import StorageError
from provml_hpc.journal import (
    DeadSegment,
    file_name,
    node_folders,
    own_folder,
    safe_folder,
)
from tests.unit.journal.making import RUN, SOURCE, make, root_only


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = safe_folder(tmp_path / "mine")
    before = os.umask(0)
    journal = make(folder)
    os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    journal.close(remove=True)


def test_a_folder_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert stat.S_IMODE(safe_folder(tmp_path / "open").stat().st_mode) == 0o700


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(StorageError, match="is a link"):
        safe_folder(tmp_path / "link")
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o755
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="remove it or choose"):
        safe_folder(tmp_path / "file")
    with pytest.raises(StorageError, match="choose another place"):
        safe_folder(tmp_path / "nowhere" / "deeper")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / file_name(RUN, SOURCE, 0)).symlink_to(precious)
    with pytest.raises(FileExistsError):
        make(tmp_path)
    assert precious.read_bytes() == b"precious"
    with pytest.raises(OSError, match=r"[Ll]ink|[Ss]ymbolic"):
        DeadSegment(tmp_path / file_name(RUN, SOURCE, 0))


@root_only
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(StorageError, match="belongs to somebody else"):
        safe_folder(tmp_path / "theirs")


def test_the_folders_of_a_node_are_named_after_user_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_TMPDIR", "/local/job")
    monkeypatch.delenv("TMPDIR", raising=False)
    folders = list(node_folders(RUN))
    assert folders[:2] == [Path("/local/job") / own_folder(RUN), Path("/dev/shm") / own_folder(RUN)]
    assert str(os.geteuid()) in own_folder(RUN)
    assert own_folder(RUN).endswith(RUN[:8])
