"""Fine-tuning that draws samples by their estimated influence on validation queries, as long as it is to be trusted."""

from influcoder.attribution.steering.callback import InfluenceCallback
from influcoder.attribution.steering.plan import Steering
from influcoder.attribution.steering.rows import collate, training_rows
from influcoder.attribution.steering.sampler import InfluenceSampler
from influcoder.attribution.steering.steer import steer
from influcoder.attribution.steering.trust import Limits
from influcoder.attribution.steering.weights import Weighting, effective_samples, estimates, weights_of

__all__ = [
    "InfluenceCallback",
    "InfluenceSampler",
    "Limits",
    "Steering",
    "Weighting",
    "collate",
    "effective_samples",
    "estimates",
    "steer",
    "training_rows",
    "weights_of",
]
