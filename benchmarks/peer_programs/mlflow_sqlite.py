"""MLflow, sqlite, batches of 1,000 metrics, the most that it takes at once."""

import logging
import os
import time

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"

import mlflow
from common import main
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

logging.disable(logging.WARNING)


def begin():
    """Start a run in a database of its own."""
    client = MlflowClient(tracking_uri="sqlite:///mlflow.db")
    run = client.create_run(client.create_experiment("training")).info.run_id
    batch = []

    def send():
        client.log_batch(run, metrics=batch)
        batch.clear()

    def step(number, loss, norm, rate):
        now = time.time_ns() // 1_000_000
        batch.append(Metric("loss", loss, now, number))
        batch.append(Metric("grad_norm", norm, now, number))
        batch.append(Metric("lr", rate, now, number))
        if len(batch) >= 999:
            send()

    def end():
        send()
        client.set_terminated(run)

    return step, end


assert mlflow
main(begin)
