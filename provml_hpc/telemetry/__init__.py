"""Samples of GPUs, node and processes beside a training: one sampler a node, in a thread of its own.

The run's own thread never waits for a counter. What cannot be sampled, and a device that is lost, are facts in the
file.
"""

from __future__ import annotations
