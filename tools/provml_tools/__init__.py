"""The offline side of provml-hpc: what is done with a file once it is there, on any machine, without MPI."""
