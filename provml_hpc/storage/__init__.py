"""The HDF5 file of a job: the log while it runs, the tables once it is closed, and the reader of both. Knows no MPI."""
