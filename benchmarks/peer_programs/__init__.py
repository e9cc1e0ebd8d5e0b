"""One program a peer, run in the peer's own environment; each needs nothing of this project, and old Pythons."""
