"""What a distilled encoder minimises. A label of NaN is a pair that is not labelled, and counts nowhere."""

import torch
from torch.nn.functional import kl_div, log_softmax, softmax

Tensor = torch.Tensor
# Far below every score over every sensible temperature, and still finite: a NaN would spread through the sums.
_NEVER = -1e9


def pearson_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """One minus Pearson's correlation of each query's scores with its labels, averaged over queries.

    The correlation half of the published loss (arXiv 2606.13668).

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape.
    """
    known = ~labels.isnan()
    left, right = (_centred(values, known) for values in (scores, labels.nan_to_num()))
    norms = (left.norm(dim=1) * right.norm(dim=1)).clamp_min(1e-8)
    return _mean(1 - (left * right).sum(1) / norms, known)


def listwise_loss(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the score distribution from the label distribution over candidates.

    The listwise half of the published loss (arXiv 2606.13668), after ListNet (Cao et al. 2007, section 4).

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape.
        temperature: of both softmaxes; smaller looks at the top alone.
    """
    known = ~labels.isnan()
    target = softmax((labels.nan_to_num() / temperature).masked_fill(~known, _NEVER), dim=1)
    found = log_softmax((scores / temperature).masked_fill(~known, _NEVER), dim=1)
    return _mean(kl_div(found, target, reduction="none").sum(1), known)


def distillation_loss(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The published loss: half Pearson, half listwise."""
    return 0.5 * pearson_loss(scores, labels) + 0.5 * listwise_loss(scores, labels, temperature)


def _centred(values: Tensor, known: Tensor) -> Tensor:
    values = values.masked_fill(~known, 0)
    mean = values.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_min(1)
    return (values - mean).masked_fill(~known, 0)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Over the queries that have two labelled candidates at least; fewer say nothing about an order."""
    ranked = known.sum(1) >= 2
    return values.masked_fill(~ranked, 0).sum() / ranked.sum().clamp_min(1)
