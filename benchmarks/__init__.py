"""What the capture costs: measured, beside its floors and its peers. See ``docs/benchmarks.md``."""
