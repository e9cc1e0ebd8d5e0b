"""The bounded, crash-safe buffer of one thread of one rank: a mapped file that outlives its process.

A call packs its frame behind the last one and then publishes the new length in one aligned store, so that whoever
reads the file after a kill -9 finds whole frames only. After a commit the journal begins anew at its first frame:
what it held is in the HDF5 file by then.

Layout of a journal file, little endian::

    0     magic "PROVMLJ1"
    8     u64 published length: the end of the last whole frame, counted from the start of the file
    16    u64 sealed length | 24 u64 CRC-32 of the bytes from 4096 to there; 0 and 0 while it is not sealed
    32    u32 attempt | 36 u32 rank | 40 u32 lane | 44 u32 segment
    48    u64 bytes of the file | 56 u32 length of the description
    64    the description: JSON text with the run's uuid, name, phase, study and output
    4032  room for what stands before the frames when they are sent; of no meaning to a reader
    4096  frames

One journal is a chain of *segments*. Samples go into the first only, whose size is the bound that the user set.
Structure (everything but samples) goes on in further segments when the first is full. A record larger than a segment
gets one of its own size.
"""

from __future__ import annotations

from provml_hpc.journal.dead import DeadSegment, SegmentHead
from provml_hpc.journal.folders import node_folders, own_folder, pid_namespace, safe_folder
from provml_hpc.journal.journal import Journal, Mark, Sealed, SideJournal
from provml_hpc.journal.segment import FIRST, HEAD_ROOM, KEPT_FREE, Segment, file_name, reserve

__all__ = [
    "FIRST",
    "HEAD_ROOM",
    "KEPT_FREE",
    "DeadSegment",
    "Journal",
    "Mark",
    "Sealed",
    "Segment",
    "SegmentHead",
    "SideJournal",
    "file_name",
    "node_folders",
    "own_folder",
    "pid_namespace",
    "reserve",
    "safe_folder",
]
