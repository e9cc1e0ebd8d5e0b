"""Job scripts for Slurm: those in the folder ``slurm``, as they are or with somebody's own values in their lines.

There is no template beside them: what a script can be asked for, its values and what they mean are read from the script
itself.
"""
