"""The HDF5 file of a job: the log while it runs, the tables once it is closed, and the reader of both. Knows no MPI.

While the job runs: `output` claims a name (`owner`, `place`) and appends to the `log` (`log_format`, `log_reader`,
`appended`, `abandon`). At its end, `closing` makes the closed file: `tables` of `columns` and of `samples`, with the
records as they were (`kept`).

Read: `reader` is the one face of the files of a run (`run_file`, `joined`), with `views`, `costs`, `record_table` and
`lazy` behind it. What anybody may have spoiled is looked at by `careful` and `metadata` first.

After a death: `recover` makes the closed file from what is left (`leftovers`), and `rescue` brings journals from a
node. Going on in a closed file: `reopened`, `unpacked`. Files of one run in one: `merge`.
"""
