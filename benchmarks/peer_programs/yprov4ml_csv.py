"""yProv4ML, metrics as CSV, saved every 10,000 logs instead of every 100; torch and fvcore stand-ins, see below."""

import sys
import types
from unittest import mock

for name in ("torch", "torch.nn", "torch.utils", "torch.utils.data", "torchvision", "fvcore", "fvcore.nn"):
    # Imported by yProv4ML and used for models only, which this work has none of; gigabytes otherwise.
    stand_in = types.ModuleType(name)
    stand_in.__getattr__ = lambda attribute: type(attribute, (), {"__module__": "stand_in"})  # type: ignore[method-assign]
    sys.modules[name] = stand_in
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, stand_in)

for part in ("cuda", "distributed"):
    setattr(sys.modules["torch"], part, types.SimpleNamespace(is_available=lambda: False))

from common import main

with mock.patch.object(sys, "argv", ["training.py"]):
    import yprov4ml


def begin():
    """Start a run in this folder."""
    yprov4ml.start_run(experiment_name="training", provenance_save_dir="prov", save_after_n_logs=10_000)

    def step(number, loss, norm, rate):
        yprov4ml.log_metric("loss", loss, step=number)
        yprov4ml.log_metric("grad_norm", norm, step=number)
        yprov4ml.log_metric("lr", rate, step=number)

    return step, yprov4ml.end_run


main(begin)
