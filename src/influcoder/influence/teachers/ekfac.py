"""Exact influence by EK-FAC: gradients compared in the metric of the decoder's inverse curvature.

Influence of c on q is ∇L(q)ᵀ (G + λI)⁻¹ ∇L(c), with the Gauss-Newton Hessian G taken layer by layer as
Q (diag Λ) Qᵀ: Q is the Kronecker product of the eigenvectors of the layer's input and output-gradient
covariances (Grosse et al. 2023, arXiv 2308.03296, section 2.2), Λ the second moments of the gradients in that
basis (George et al. 2018, arXiv 1806.03884). kronfluence does the work; gradients are of the weights themselves,
not of an adapter.
"""

import copy
import logging
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from influcoder.core.errors import DecoderError, MissingPackageError, SampleError, SettingsError
from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.influence.features.tokens import Tokens

STRATEGIES = ("ekfac", "kfac", "diagonal", "identity")


def ekfac_influence(
    decoder: Decoder,
    queries: Sequence[Tokens],
    candidates: Sequence[Tokens],
    reference: Sequence[Tokens],
    *,
    damping: float | None = None,
    reduction: str = "mean",
    batch: int = 4,
    strategy: str = "ekfac",
    empirical: bool = False,
    seed: int = 0,
    folder: str | None = None,
) -> np.ndarray:
    """Influence of each candidate on each query: positive where learning the candidate lowers the query's loss.

    The factors are of the true Fisher, as in the paper: the labels of the reference samples' targets are drawn from
    the decoder. The draws hang on the seed and on a sample's own tokens alone, so neither order nor batching
    changes them. Everything is computed in float32, eigenvectors in float64. A query's preconditioned gradient is
    as large as the decoder, and `batch` of them are in memory together: the candidates' gradients are taken once for
    each `batch` queries.

    Args:
        decoder: the decoder; its linear layers count, biases included, the output head left out. A layer that runs
            more than once in a forward pass is not supported.
        queries: whose loss is explained.
        candidates: what it is explained by.
        reference: what the factors are fitted on; some hundreds from the training distribution.
        damping: λ in the units of the squared gradient; None takes a tenth of each layer's mean eigenvalue.
        reduction: `mean` or `sum` over a sample's own target tokens, never over a batch.
        batch: samples in one pass.
        strategy: `ekfac`; or `kfac`, `diagonal`, or `identity`, which is the dot product of the gradients.
        empirical: take the labels as they are instead of drawing them (the empirical Fisher).
        seed: of the drawn labels.
        folder: where the factors are kept; those that are there are taken as they are, so it must belong to one
            reference. A temporary one unless given.
    Returns:
        scores, shape (queries, candidates), float32.
    Raises:
        MissingPackageError: kronfluence is not installed.
        SettingsError: an unknown strategy or reduction.
        SampleError: there is no reference sample.
        DecoderError: kronfluence does not know one of the layers.
    """
    _check(strategy, reduction, reference)
    if not queries or not candidates:
        return np.zeros((len(queries), len(candidates)), np.float32)
    arguments = _arguments(strategy, empirical, damping)
    rows, columns = _longest_first(queries), _longest_first(candidates)
    scores = np.empty((len(queries), len(candidates)), np.float32)
    with tempfile.TemporaryDirectory(prefix="influcoder-ekfac-") as own, torch.enable_grad():
        analyzer = _analyzer(decoder, reduction, seed, folder or own)
        fitted = [reference[i] for i in _longest_first(reference)]
        analyzer.fit_all_factors("factors", fitted, per_device_batch_size=batch, factor_args=arguments[0])
        analyzer.compute_pairwise_scores(
            "scores",
            "factors",
            query_dataset=[queries[i] for i in rows],
            train_dataset=[candidates[i] for i in columns],
            per_device_query_batch_size=batch,
            per_device_train_batch_size=batch,
            score_args=arguments[1],
            overwrite_output_dir=True,
        )
        found = analyzer.load_pairwise_scores("scores")["all_modules"]
    scores[np.ix_(rows, columns)] = found.float().cpu().numpy()
    return scores


def _check(strategy: str, reduction: str, reference: Sequence[Tokens]) -> None:
    if strategy not in STRATEGIES or reduction not in ("mean", "sum"):
        raise SettingsError(
            f"strategy {strategy!r} with reduction {reduction!r} is no influence.",
            f"Use a strategy of {', '.join(STRATEGIES)}, and a reduction of mean, sum.",
        )
    if not reference and strategy != "identity":
        raise SampleError("EK-FAC has no reference samples to fit its factors on.", "Give some hundreds.")


def _arguments(strategy: str, empirical: bool, damping: float | None) -> tuple[Any, Any]:
    try:
        from kronfluence.arguments import FactorArguments, ScoreArguments
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"EK-FAC runs on kronfluence, which can't be loaded: {error}.", "pip install 'influcoder[ekfac]'"
        ) from error
    factors = FactorArguments(
        strategy=strategy, use_empirical_fisher=empirical, covariance_max_examples=None, lambda_max_examples=None
    )
    return factors, ScoreArguments(damping_factor=damping)


def _analyzer(decoder: Decoder, reduction: str, seed: int, folder: str) -> Any:
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.utils.dataset import DataLoaderKwargs

    from influcoder.influence.teachers.ekfac_task import TargetLossTask, collate

    model = _shared_copy(decoder.model)
    task = TargetLossTask(list(linear_names(model)), reduction)
    _replace_unknown(model, task.layers)
    analyzer = Analyzer(
        "influence",
        prepare_model(model, task),
        task,
        cpu=decoder.model.device.type == "cpu",
        log_level=logging.WARNING,
        disable_tqdm=not sys.stderr.isatty(),
        output_dir=folder,
    )
    analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=lambda samples: collate(samples, seed)))
    return analyzer


def _shared_copy(model: Any) -> Any:
    """A copy whose modules are its own and whose weights are the model's: kronfluence replaces layers in place."""
    weights = {id(p): torch.nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, {**weights, **{id(buffer): buffer.detach() for buffer in model.buffers()}})


def _replace_unknown(model: Any, names: Sequence[str]) -> None:
    """Turn GPT-2's Conv1D into the linear layer that it is; its weight becomes a transposed view, not a copy."""
    from transformers.pytorch_utils import Conv1D

    for name in names:
        layer = model.get_submodule(name)
        if type(layer) is torch.nn.Linear:
            continue
        if not isinstance(layer, Conv1D):
            raise DecoderError(f"kronfluence does not know the layer {name}, a {type(layer).__name__}.")
        inputs, outputs = layer.weight.shape
        linear = torch.nn.Linear(inputs, outputs, device="meta")
        linear.weight = torch.nn.Parameter(layer.weight.detach().T, requires_grad=False)
        linear.bias = torch.nn.Parameter(layer.bias.detach(), requires_grad=False)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, linear)


def _longest_first(samples: Sequence[Tokens]) -> list[int]:
    return sorted(range(len(samples)), key=lambda row: -len(samples[row]))
