"""What a distilled encoder minimises."""

import torch
from torch.nn.functional import kl_div, log_softmax, softmax

Tensor = torch.Tensor


def pearson_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """One minus Pearson's correlation of each query's scores with its labels, averaged over queries.

    The correlation half of the published loss (arXiv 2606.13668).

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape.
    """
    left = scores - scores.mean(1, keepdim=True)
    right = labels - labels.mean(1, keepdim=True)
    norms = (left.norm(dim=1) * right.norm(dim=1)).clamp_min(1e-8)
    return (1 - (left * right).sum(1) / norms).mean()


def listwise_loss(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the score distribution from the label distribution over candidates.

    The listwise half of the published loss (arXiv 2606.13668), after ListNet (Cao et al. 2007, section 4).

    Args:
        scores: encoder cosines, shape (queries, candidates).
        labels: exact influence, same shape.
        temperature: of both softmaxes; smaller looks at the top alone.
    """
    target = softmax(labels / temperature, dim=1)
    return kl_div(log_softmax(scores / temperature, dim=1), target, reduction="batchmean")


def distillation_loss(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The published loss: half Pearson, half listwise.

    Labels beyond a cosine's range, as dot products are, are scaled into it query by query: a temperature means
    something in that range alone.
    """
    scale = labels.abs().amax(1, keepdim=True).clamp_min(1.0)
    return 0.5 * pearson_loss(scores, labels) + 0.5 * listwise_loss(scores, labels / scale, temperature)
