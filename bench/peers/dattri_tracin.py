"""dattri: gradient cosines by torch.func, the whole gradient of the linear layers, nothing projected.

Its attributor takes the queries' gradients once more for every batch of candidates, and always projects unless its
setting is taken away: its dense projection of 106 million weights to the default 512 dimensions needs 43 GB a block.
"""

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from influcoder.decoder import linear_names
from influcoder.influence.gradients import padded

BATCH = 4


def scores(decoder, tokens, queries) -> np.ndarray:
    """Cosines of the whole gradients, loss on the targets, mean over their tokens."""
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    model = decoder.model.requires_grad_(True)

    def loss(parameters, sample):
        ids, labels = sample
        logits = torch.func.functional_call(model, parameters, (ids[None],), {"use_cache": False}).logits[0]
        return torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100)

    attributor = TracInAttributor(
        AttributionTask(loss, model, model.state_dict()),
        weight_list=torch.ones(1),
        normalized_grad=True,
        layer_name=[f"{name}.weight" for name in linear_names(model)],
    )
    attributor.projector_kwargs = None
    with torch.no_grad():
        found = attributor.attribute(_loader(tokens[queries:]), _loader(tokens[:queries]))
    return found.T.numpy()


def _loader(tokens) -> DataLoader:
    ids, _, labels = padded(tokens, torch.device("cpu"))
    return DataLoader(TensorDataset(ids, labels), batch_size=BATCH, shuffle=False)
