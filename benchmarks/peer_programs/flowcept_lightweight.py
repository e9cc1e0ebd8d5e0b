"""Flowcept, its lightweight decorator: a step has neither an identifier nor a time."""

import os

os.environ["FLOWCEPT_USE_DEFAULT"] = "true"

from common import main
from flowcept import Flowcept
from flowcept.instrumentation.flowcept_task import lightweight_flowcept_task


def begin():
    """Start a workflow that is dumped to a file when it stops."""
    flow = Flowcept(workflow_name="training", start_persistence=False, check_safe_stops=False).start()

    @lightweight_flowcept_task
    def step(number, loss, norm, rate):
        return None

    def keywords(number, loss, norm, rate):
        step(number=number, loss=loss, norm=norm, rate=rate)

    return keywords, flow.stop


main(begin)
