"""ProvLake, a task a step, to a file, in bags of 1,000 instead of one by one."""

from common import main
from provlake import ProvLake
from provlake.capture import ProvTask, ProvWorkflow


def begin():
    """Start a workflow that is logged to a file."""
    persister = ProvLake.get_persister(log_file_path="prov.log", bag_size=1000)
    workflow = ProvWorkflow(persister, "training")
    workflow.__enter__()

    def step(number, loss, norm, rate):
        with ProvTask(persister, "step", workflow, {"step": number}) as task:
            task.end({"loss": loss, "grad_norm": norm, "lr": rate})

    return step, lambda: workflow.__exit__(None, None, None)


main(begin)
