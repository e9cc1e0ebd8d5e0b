"""The log of a closed file, made again so that a later attempt of its run can go on in it.

So a run that is resumed has one log, whether its earlier attempts died or were closed.
"""

from __future__ import annotations

from pathlib import Path
from time import time_ns

from provml_hpc.storage.closing import closed_run, run_meta
from provml_hpc.storage.kept import last_sequences
from provml_hpc.storage.log import LogWriter
from provml_hpc.storage.log_reader import LogReader
from provml_hpc.storage.place import partial_of
from provml_hpc.storage.tables import TablesFile
from provml_hpc.storage.unpacked import Unpacked


def half_reopened(output: Path) -> bool:
    """Tell whether somebody died while making the log of a closed file again: the log then lacks what the file has."""
    if not partial_of(output).exists():
        return False
    with LogReader(partial_of(output)) as log:
        if closed_run(output) != str(log.meta["run"]):
            return False
        with TablesFile(output) as closed, closed.guarded():
            lasts = last_sequences(closed.file)
        return any(log.committed(source) < last for source, last in lasts.items())


def reopen(output: Path) -> None:
    """Make the log of a closed file again, ready for the next attempt; the closed file stays until that is closed too.

    Raises
    ------
    FormatError
        The file is damaged, or was written without its records.
    """
    with TablesFile(output) as closed:
        run = closed.run
        log = LogWriter.create(partial_of(output), run_meta(run))
        try:
            unpacked = Unpacked(closed)
            for source in unpacked.sources():
                for data, first, last in unpacked.batches(source):
                    log.append(source, data, first, last)
            log.commit(run.committed_ns if run.committed_ns > 0 else time_ns())
        except BaseException:
            log.close()
            partial_of(output).unlink(missing_ok=True)
            raise
        log.close()
