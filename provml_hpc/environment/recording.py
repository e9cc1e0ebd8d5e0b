"""What of a run's surroundings is recorded only if somebody asks for it, since it may hold secrets.

By default a command line is told with what cannot be one: the program, the names of options, numbers, yes and no, and
paths that are there; all else is hidden. No variable of the environment is recorded but those of schedulers, launchers
and software modules that this package knows; and of changed code only the digest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from provml_hpc.environment.facts import Fact
from provml_hpc.environment.redaction import HIDDEN, is_secret_name, redact_text
from provml_hpc.errors import UsageError

SETTING = "PROVML_RECORD"
ARGUMENTS, ENVIRONMENT, DIFF = KINDS = ("arguments", "environment", "diff")
"""The words of the command line, what is set for the machine's software, how the code differs from its commit."""

_VALUE_LIMIT = 4096
# What tunes a run on a cluster. A variable that no name here begins or is, is never looked at.
_VARIABLES = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "VIRTUAL_ENV"),
        *("CONDA_PREFIX", "CONDA_DEFAULT_ENV", "SPACK_ENV", "CUDA_HOME", "CUDA_PATH", "ROCM_PATH", "TZ", "LANG"),
        *("LC_ALL", "HDF5_USE_FILE_LOCKING", "TOKENIZERS_PARALLELISM", "TF_CPP_MIN_LOG_LEVEL", "XLA_FLAGS"),
    }
)
_PREFIXES = (
    *("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "BLIS_"),
    *("CUDA_", "NCCL_", "CUBLAS_", "CUDNN_", "NVIDIA_", "HIP_", "ROCR_", "RCCL_", "HSA_", "MIOPEN_"),
    *("MPICH_", "MPIR_CVAR_", "I_MPI_", "OMPI_MCA_", "PRTE_MCA_", "MV2_", "UCX_", "FI_", "GLOO_", "PSM2_"),
    *("TORCH_", "PYTORCH_", "TORCHINDUCTOR_", "TF_", "JAX_", "PROVML_"),
)


def parse(wanted: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return what is asked for, by a call and by the variable ``PROVML_RECORD``, a list with commas.

    Raises
    ------
    UsageError
        The call asks for what there is not. A variable that does is passed over: it is no part of the program.
    """
    environ = os.environ if environ is None else environ
    asked = [wanted] if isinstance(wanted, str) else list(wanted)
    for one in asked:
        if one not in KINDS:
            raise UsageError(f"record={one!r}; choose of {', '.join(KINDS)}")
    listed = {one.strip() for one in environ.get(SETTING, "").split(",")}
    return frozenset(asked) | (listed & set(KINDS))


def environment_facts(environ: Mapping[str, str] | None = None) -> list[Fact]:
    """Give the variables that are known to tune software, and no other; what looks secret in them is hidden."""
    environ = os.environ if environ is None else environ
    facts = []
    for name, value in sorted(environ.items()):
        if name in _VARIABLES or name.startswith(_PREFIXES):
            told = HIDDEN if is_secret_name(name) else redact_text(value[:_VALUE_LIMIT])
            facts.append(Fact(f"environment.{name}", told))
    return facts
