"""The scheduler's facts, from variables as real jobs have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from provml_hpc.environment.scheduler import in_node_list, job_facts, node_facts

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOBID": "4711",
    "SLURM_JOB_NODELIST": "n[01-12]",
    "SLURM_JOB_NUM_NODES": "12",
    "SLURM_NTASKS": "48",
    "SLURM_JOB_PARTITION": "gpu",
    "SLURM_JOB_ACCOUNT": "geo",
    "SLURM_JOB_NAME": "unet",
    "SLURM_CLUSTER_NAME": "c1",
    "SLURM_MEM_PER_NODE": "1024",
    "SLURM_JOB_END_TIME": "1764000000",
    "SLURMD_NODENAME": "n03",
}


def facts(environ: dict[str, str], host: str) -> dict[str, object]:
    found = job_facts(environ, host)
    assert len({fact.name for fact in found}) == len(found)
    return {fact.name.removeprefix("scheduler."): fact.value for fact in found}


def test_nothing_without_a_scheduler() -> None:
    assert job_facts({"HOME": "/", "SLURM_CONF": "/etc/slurm.conf"}, "n1") == []


def test_slurm_job() -> None:
    assert facts(SLURM, "anything") == {
        "name": "slurm",
        "job_id": "4711",
        "job_name": "unet",
        "cluster": "c1",
        "partition": "gpu",
        "account": "geo",
        "nodes": 12,
        "node_list": "n[01-12]",
        "tasks": 48,
        "memory_per_node": 1024 * 2**20,
        "end_time": 1764000000,
        "restart_count": 0,
    }
    assert [(fact.name, fact.value) for fact in node_facts(SLURM, "x")] == [("scheduler.node_name", "n03")]


def test_slurm_memory_that_is_asked_for_by_the_core() -> None:
    asked = {name: value for name, value in SLURM.items() if name != "SLURM_MEM_PER_NODE"} | {
        "SLURM_MEM_PER_CPU": "500"
    }
    assert facts(asked | {"SLURM_CPUS_ON_NODE": "16"}, "x")["memory_per_node"] == 16 * 500 * 2**20
    assert "memory_per_node" not in facts(asked, "x")


def test_slurm_step_array_and_requeue() -> None:
    more = {
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_ARRAY_JOB_ID": "4700",
        "SLURM_ARRAY_TASK_ID": "11",
        "SLURM_RESTART_COUNT": "2",
    }
    found = facts(SLURM | more, "n03")
    assert [found[name] for name in ("step_id", "tasks", "array_id", "array_task", "restart_count")] == [
        "0",
        4,
        "4700",
        "11",
        2,
    ]


def test_slurm_batch_step_is_no_step() -> None:
    assert "step_id" not in facts(SLURM | {"SLURM_STEP_ID": "4294967291"}, "n03")


@pytest.mark.parametrize(
    "environ",
    [
        {"SLURM_JOB_ID": "4711"},
        {"SLURM_JOB_ID": "abc", "SLURM_JOB_NODELIST": "n1"},
        {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "n[2-9]"},
        {"PBS_JOBID": "12.server"},
        {"PBS_JOBID": "rm -rf", "PBS_ENVIRONMENT": "PBS_BATCH"},
        {"LSB_JOBID": "12"},
        {"LSB_JOBID": "12", "LSB_HOSTS": "n2 n3"},
        {"FLUX_JOB_ID": "ƒabc"},
        {"FLUX_JOB_ID": "ƒabc", "FLUX_JOB_SIZE": "many", "FLUX_TASK_RANK": "0"},
    ],
)
def test_leftovers_are_not_believed(environ: dict[str, str]) -> None:
    found = facts(environ, "n1")
    assert set(found) == {"reason"}
    assert "leftovers" in str(found["reason"])


def test_counts_that_are_none_are_left_out() -> None:
    found = facts(SLURM | {"SLURM_NTASKS": "48(x2)", "SLURM_CPUS_PER_TASK": ""}, "n03")
    assert "tasks" not in found
    assert "cpus_per_task" not in found


def test_pbs_job_with_its_node_file(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    nodes.write_text("n1.site\nn1.site\nn2.site\nn2.site\n")
    environ = {
        "PBS_JOBID": "123[7].server.site",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_NODEFILE": str(nodes),
        "PBS_ARRAY_INDEX": "7",
        "PBS_QUEUE": "workq",
        "PBS_O_HOST": "login1",
    }
    assert facts(environ, "n2") == {
        "name": "pbs",
        "job_id": "123[7].server.site",
        "array_id": "123[].server.site",
        "array_task": "7",
        "partition": "workq",
        "submit_host": "login1",
        "nodes": 2,
        "node_list": "n1.site,n2.site",
        "tasks": 4,
    }
    assert set(facts(environ, "login1")) == {"reason"}


def test_pbs_job_away_from_its_first_node() -> None:
    found = facts({"PBS_JOBID": "9.s", "PBS_NODEFILE": "/nowhere", "PBS_NUM_NODES": "3", "PBS_NP": "6"}, "n3")
    assert (found["job_id"], found["nodes"], found["tasks"]) == ("9.s", 3, 6)


def test_lsf_array() -> None:
    environ = {
        "LSB_JOBID": "55",
        "LSB_JOBINDEX": "3",
        "LSB_MCPU_HOSTS": "n1 4 n2 4",
        "LSB_QUEUE": "normal",
        "LSB_PROJECT_NAME": "geo",
        "LSB_RESTART": "Y",
    }
    assert facts(environ, "n2.site") == {
        "name": "lsf",
        "job_id": "55[3]",
        "array_id": "55",
        "array_task": "3",
        "partition": "normal",
        "account": "geo",
        "nodes": 2,
        "node_list": "n1,n2",
        "tasks": 8,
        "restarted": True,
    }


def test_flux_inside_slurm() -> None:
    environ = SLURM | {"FLUX_JOB_ID": "ƒ2oKPzj", "FLUX_JOB_SIZE": "4", "FLUX_JOB_NNODES": "1", "FLUX_TASK_RANK": "0"}
    found = facts(environ, "n03")
    assert found == {"name": "flux", "job_id": "ƒ2oKPzj", "nodes": 1, "tasks": 4, "outer": "slurm 4711"}


@pytest.mark.parametrize(
    ("name", "nodes", "expected"),
    [
        ("n1", "n1", True),
        ("n1.site", "n1", True),
        ("n1", "n10", False),
        ("n10", "n[1-9]", False),
        ("n10", "n[1-10]", True),
        ("n003", "n[001-012]", True),
        ("n3", "n[001-012]", False),
        ("n100", "n[98-101]", True),
        ("a2-b7", "login,a[1-2]-b[5,7]", True),
        ("a2-b6", "login,a[1-2]-b[5,7]", False),
        ("login", "a[1-2],login", True),
        ("a.b", "a[1", False),
        ("n1", "", False),
        ("n", "n[]", False),
    ],
)
def test_node_lists(name: str, nodes: str, expected: bool) -> None:
    assert in_node_list(name, nodes) is expected
