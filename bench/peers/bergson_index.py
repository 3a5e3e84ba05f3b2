"""bergson: a gradient index in memory, each layer's gradient projected to 16 × 16 from both sides."""

import tempfile
from pathlib import Path

import numpy as np

TOKEN_BUDGET = 512


def scores(decoder, tokens, queries) -> np.ndarray:
    """Cosines of the projected gradients, loss on the targets, mean over their tokens."""
    from bergson import CollectorComputer, GradientProcessor, IndexConfig, InMemoryCollector
    from bergson.data import allocate_batches
    from datasets import Dataset

    labels = [[-100] * item.target_start + list(item.ids[item.target_start :]) for item in tokens]
    data = Dataset.from_dict({"input_ids": [list(item.ids) for item in tokens], "labels": labels})
    # As bergson's own loader does: a graph has to start somewhere where every weight is frozen.
    decoder.model.get_input_embeddings().requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        config = IndexConfig(run_path=str(Path(folder, "index")), projection_dim=16, loss_reduction="mean")
        config.partial_run_path.mkdir()
        collector = InMemoryCollector(
            model=decoder.model.base_model,
            data=data,
            cfg=config,
            processor=GradientProcessor(projection_dim=config.projection_dim),
        )
        batches = allocate_batches([len(item) for item in tokens], TOKEN_BUDGET)
        computer = CollectorComputer(decoder.model, data, collector=collector, batches=batches, cfg=config)
        computer.run_with_collector_hooks("gradients")
    rows = np.concatenate([part.float().cpu().numpy() for part in collector.gradients.values()], axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:queries] @ rows[queries:].T
