"""Tensors that lie on a device once they were needed there."""

from collections.abc import Callable
from functools import cached_property

import torch

Tensors = tuple[torch.Tensor, ...]


class Placed:
    """Keeps what a layer needs on a device: a GPU would else be sent it with every batch, and wait at every layer."""

    def placed(self, name: str, device: torch.device, send: Callable[[], Tensors]) -> Tensors:
        """A layer's tensors on a device, sent there by `send` the first time."""
        if (name, device) not in self._placed:
            self._placed[name, device] = send()
        return self._placed[name, device]

    @cached_property
    def _placed(self) -> dict[tuple[str, torch.device], Tensors]:
        return {}

    def __getstate__(self) -> dict[str, object]:
        # Whoever is sent it may not have the device.
        return {name: value for name, value in self.__dict__.items() if name != "_placed"}
