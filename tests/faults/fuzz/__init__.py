"""Spoiled files by the hundred thousand: only clean errors, in bounded time and memory, and nothing touched outside.

``python -m tests.faults.fuzz --target info --files 1000 --seed 1`` spoils that many files and gives each to ``provml
info``. Mutants know the formats: frames are changed and then numbered, sealed and checksummed anew, HDF5's own metadata
gets its checksums back, tables get values that no run would write. Each seed is one mutant, the same on every machine
that has the same originals.
"""
