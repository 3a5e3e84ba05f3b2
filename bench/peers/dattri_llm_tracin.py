"""dattri-llm: gradient cosines from the factors that its hooks take, exact and unprojected; one sample a batch."""

import tempfile

import numpy as np
import torch

from influcoder.decoder.checkpoint import linear_names


def scores(decoder, tokens, queries) -> np.ndarray:
    """Cosines of the whole gradients, loss on the targets, mean over their tokens."""
    from dattri_llm import AttributionArguments, AttributionTask, HookManagerConfig, TracInAttributor

    # Frozen weights are hooked too; one input-side weight has to be differentiable, and no other costs anything.
    decoder.model.get_input_embeddings().requires_grad_(True)
    hooks = HookManagerConfig(
        hook_types={name: "linear_io" for name in linear_names(decoder.model)}, include_frozen=True
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = AttributionArguments(
            output_dir=folder, per_device_train_batch_size=1, per_device_eval_batch_size=1, use_cpu=True
        )
        task = AttributionTask(lambda model, batch: model(**batch).loss, decoder.model)
        found = TracInAttributor(arguments, task=task).attribute(
            _data(tokens[queries:]), _data(tokens[:queries]), hook_config=hooks, normalized_grad=True
        )
    return found.agnostic_matrix()[1].T.float().numpy()


def _data(tokens) -> list[dict[str, torch.Tensor]]:
    rows = []
    for item in tokens:
        labels = torch.tensor(item.ids)
        labels[: item.target_start] = -100
        rows.append({"input_ids": torch.tensor(item.ids), "labels": labels})
    return rows
