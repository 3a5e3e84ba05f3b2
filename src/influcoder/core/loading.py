"""Checkpoints are data: no code that one carries or names is run, and nobody is asked whether it may be."""

from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

# What transformers and sentence-transformers raise at a checkpoint that is broken, or that wants code of its own run.
LOAD_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
    ImportError,
    SafetensorError,
    UnpicklingError,
)
# Every loader gets it: where it is left out, transformers asks on standard input, and runs the code at a yes.
DATA_ONLY: dict[str, Any] = {"trust_remote_code": False}
# What a text encoder's own settings may not say otherwise: unpickle objects, fetch kernels from a hub.
WEIGHTS_ONLY: dict[str, Any] = {
    "weights_only": True,
    "use_kernels": False,
    "kernel_config": None,
    "allow_all_kernels": False,
}
_MEND = (
    "No code of a checkpoint is ever run. Convert it to an architecture that transformers has, "
    "and save that with save_pretrained."
)
_PICKLED = "Save its weights in safetensors: model.save_pretrained(FOLDER)."


def refusal(what: str, error: BaseException, mend: str = "") -> tuple[str, str]:
    """Message and hint about a checkpoint that a library did not load.

    Args:
        what: the checkpoint, such as `decoder 'hf:lab/name'`.
        error: what the library raised.
        mend: the hint, where the checkpoint wants no code.
    """
    lines = str(error).strip().splitlines()
    if "trust_remote_code" in str(error):
        return wants_code(what)
    if isinstance(error, UnpicklingError):
        return f"{what} can't be loaded: its weights are a pickle of more than tensors.", _PICKLED
    return f"{what} can't be loaded: {lines[0] if lines else type(error).__name__}", mend


def wants_code(what: str, name: str = "") -> tuple[str, str]:
    """Message and hint about a checkpoint that can't be loaded without code of its own.

    Args:
        what: the checkpoint.
        name: the class that it names, where it is known.
    """
    return f"{what} can't be loaded: it wants {name or 'code that it brings or names'} to be run.", _MEND
