"""Flowcept, a ``FlowceptTask`` a step, offline, without telemetry."""

import os

os.environ["FLOWCEPT_USE_DEFAULT"] = "true"

from common import main
from flowcept import Flowcept, FlowceptTask


def begin():
    """Start a workflow that is dumped to a file when it stops."""
    flow = Flowcept(workflow_name="training", start_persistence=False, check_safe_stops=False).start()

    def step(number, loss, norm, rate):
        FlowceptTask(activity_id="step", used={"step": number}, generated={"loss": loss, "grad_norm": norm, "lr": rate})

    return step, flow.stop


main(begin)
