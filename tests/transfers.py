"""A device that no test machine has: what is sent to it, what comes back, and each number that the host waits for.

torch's `meta` device stands in for a GPU. It computes shapes alone and refuses to be mixed with a CPU, so whatever
forgets to move its data fails here as it would there; whoever asks for a number is given a 1.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
_NUMBERS = ("_local_scalar_dense", "item", "is_nonzero")
_MOVES = ("to", "_to_copy")


class Traffic(TorchDispatchMode):
    """Counts what passes between the host and the device while it is entered.

    Attributes:
        sent: shapes of the tensors that went to the device.
        fetched: shapes of those that came back.
        numbers: how often the host waited for a single number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[int, ...]] = []
        self.fetched: list[tuple[int, ...]] = []
        self.numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None) -> Any:
        options = kwargs or {}
        name = operation._schema.name.partition("::")[2]
        source = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if name in _NUMBERS and source is not None and source.device == DEVICE:
            self.numbers += 1
            return True if source.dtype == torch.bool else 1
        goal = options.get("device") or next((item for item in args if isinstance(item, torch.device)), None)
        if name in _MOVES and goal is not None and torch.device(goal) != source.device:
            (self.sent if source.device != DEVICE else self.fetched).append(tuple(source.shape))
            if source.device == DEVICE:
                return torch.zeros(source.shape, dtype=options.get("dtype") or source.dtype)
        return operation(*args, **options)
