"""dattri: its LoGra attributor without curvature, each layer's gradient projected to 16 × 16; one sample a batch."""

import tempfile

import numpy as np
import torch

from influcoder.decoder.checkpoint import linear_names


def scores(decoder, tokens, queries) -> np.ndarray:
    """Dot products of the projected gradients, loss on the targets, mean over their tokens."""
    from dattri.algorithm.logra import LoGraAttributor
    from dattri.task import AttributionTask

    # A graph has to start somewhere where every weight is frozen.
    decoder.model.get_input_embeddings().requires_grad_(True)

    def loss(model, batch, _device):
        return model(**batch).loss

    with tempfile.TemporaryDirectory() as folder:
        attributor = LoGraAttributor(
            AttributionTask(loss, decoder.model, decoder.model.state_dict()),
            layer_names=list(linear_names(decoder.model)),
            hessian="Identity",
            proj_dim=256,
            cache_dir=folder,
        )
        attributor.cache(_loader(tokens[queries:]))
        found = attributor.attribute(_loader(tokens[queries:]), _loader(tokens[:queries]))
    return found.T.float().numpy()


def _loader(tokens) -> torch.utils.data.DataLoader:
    rows = []
    for item in tokens:
        labels = torch.tensor(item.ids)
        labels[: item.target_start] = -100
        rows.append({"input_ids": torch.tensor(item.ids), "labels": labels})
    return torch.utils.data.DataLoader(rows, batch_size=1, shuffle=False)
