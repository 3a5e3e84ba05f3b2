"""TRAK: its features by torch.func, the gradient of the linear layers projected to 8 dimensions.

Without its CUDA kernel the projection is a dense matrix: 106 million weights × 8 dimensions are 3.4 GB, the 2,048
that it uses by default would be 870 GB, or made anew in blocks for every batch.
"""

import functools
import tempfile

import numpy as np
import torch

from influcoder.decoder.checkpoint import linear_names

DIMENSIONS = 8


def scores(decoder, tokens, queries) -> np.ndarray:
    """Cosines of the features, loss on the targets, mean over their tokens; no kernel is put between them."""
    from trak import TRAKer

    names = tuple(f"{name}.weight" for name in linear_names(decoder.model))
    weights = decoder.model.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        traker = TRAKer(
            decoder.model,
            _loss_output(),
            train_set_size=len(tokens),
            save_dir=folder,
            device="cpu",
            projector=_projector(sum(weights[name].numel() for name in names)),
            use_half_precision=False,
            grad_wrt=names,
            logging_level="ERROR",
        )
        traker.load_checkpoint(weights, model_id=0)
        for item in tokens:
            labels = torch.tensor([item.ids])
            labels[:, : item.target_start] = -100
            traker.featurize((torch.tensor([item.ids]), labels), num_samples=1)
        rows = np.array(traker.saver.current_store["grads"], np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:queries] @ rows[queries:].T


@functools.cache
def _projector(weights: int):
    from trak.projectors import BasicProjector, ProjectionType

    return BasicProjector(weights, DIMENSIONS, 0, ProjectionType.normal, torch.device("cpu"))


def _loss_output():
    from trak.modelout_functions import AbstractModelOutput

    class TargetLoss(AbstractModelOutput):
        """The loss itself is what is differentiated, so its gradient by itself is 1."""

        def __init__(self):
            super().__init__()

        @staticmethod
        def get_output(model, weights, buffers, ids, labels):
            call = torch.func.functional_call(model, (weights, buffers), (ids[None],), {"use_cache": False})
            return torch.nn.functional.cross_entropy(call.logits[0, :-1], labels[1:], ignore_index=-100)

        def get_out_to_loss_grad(self, model, weights, buffers, batch):
            return torch.ones(len(batch[0]), 1)

    return TargetLoss()
