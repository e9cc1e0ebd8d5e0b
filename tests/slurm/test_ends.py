"""How jobs end on a cluster: cancelled, with a rank killed, on uneven nodes. Nothing that was acknowledged is lost."""

from __future__ import annotations

from pathlib import Path

from provml_hpc.storage.place import hidden_of
from tests.faults import acknowledged, guarantee
from tests.mpi.reading import File
from tests.slurm.conftest import Place
from tests.slurm.jobs import all_over, until

HEAD = "#!/bin/bash\n"


def check(output: Path, told: Path, ranks: int, *, attempts: int = 1) -> None:
    """Hold a closed file to what its ranks were told is safe."""
    places = [(attempt, rank) for attempt in range(1, attempts + 1) for rank in range(ranks)]
    assert all(acknowledged.read(acknowledged.file_of(told, *place))["samples"] for place in places)
    guarantee.check_content(guarantee.in_closed(output), told, places, flushed=False)
    assert not hidden_of(output).exists()


def test_a_cancelled_job_is_recovered(place: Place) -> None:
    """Its journals lie beside the output, so there is nothing to be done on its nodes."""
    output = place.folder / "job.h5"
    job = place.submit(f"{HEAD}srun {place.worker('job.h5')}\n", "--nodes=3", "--ntasks-per-node=4")
    place.until_flushed(12, job)
    job.cancel()
    assert job.end() == ["CANCELLED"]
    assert not output.exists()
    recovered = place.cluster.run("provml", "recover", output)
    assert "recovered" in recovered.stdout
    check(output, place.told, 12)
    assert len(File(output).all("Rank")) == 12


def test_a_killed_rank_ends_the_step_and_the_script_recovers(place: Place) -> None:
    script = (
        f"{HEAD}srun --kill-on-bad-exit=1 {place.worker('job.h5', victim=5)} || {{ provml recover job.h5; exit 7; }}\n"
    )
    job = place.submit(script, "--nodes=2", "--ntasks-per-node=4")
    assert job.end() == ["FAILED"], job.told()
    assert job.exit_codes == ["7:0"]
    check(place.folder / "job.h5", place.told, 8)


def test_survivors_carry_the_journals_of_their_node_before_it_is_wiped(place: Place) -> None:
    """Of four ranks on two nodes one is dead when a plain scancel comes; the others log on, until they wait for it."""
    output = place.folder / "job.h5"
    command = place.worker("job.h5", journal="node", victim=3, stop_signals=["SIGTERM"], carried=True)
    job = place.submit(f"{HEAD}srun --kill-on-bad-exit=0 {command}\n", "--nodes=2", "--ntasks-per-node=2")
    place.until_flushed(4, job)
    until(lambda: "Killed" in job.told(), job.told)
    assert not list(hidden_of(output).glob("*.journal"))
    job.cancel()
    assert job.end() == ["CANCELLED"]
    all_over(place.cluster)
    told = [acknowledged.read(acknowledged.file_of(place.told, 1, rank)) for rank in range(4)]
    # 60 were flushed; 20 more were logged before the signal, and 40 when the first copies were there.
    assert [(one["flushed_samples"], one["samples"]) for one in told] == [(60, 120)] * 3 + [(60, 80)]
    place.cluster.run("provml", "recover", output)
    check(output, place.told, 4)


def test_parts_of_a_job_with_other_numbers_of_ranks_a_node_are_one_run(place: Place) -> None:
    parts = "#SBATCH --nodes=1 --ntasks=3\n#SBATCH hetjob\n#SBATCH --nodes=2 --ntasks=2\n"
    job = place.submit(f"{HEAD}{parts}srun --het-group=0,1 {place.worker('job.h5', epochs=4)}\n")
    job.succeed()
    check(place.folder / "job.h5", place.told, 5)
    file = File(place.folder / "job.h5")
    assert file.run.status == "finished"
    assert len(file.all("Rank")) == 5
