"""An encoder version held against spot labels, as often as labels come in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from influcoder.encoder import Encoder
from influcoder.labelsets import Block, LabelSet
from influcoder.registry.encoder_version import EncoderVersion, Evidence
from influcoder.registry.mlflow_registry import Registry
from influcoder.registry.open_encoder import open_encoder
from influcoder.settings.loop import DriftSettings
from influcoder.settings.tree import Settings
from influcoder.statistics.agreement import Agreement
from monitoring.checks.decision import judge_drift
from monitoring.checks.findings import Judgement
from monitoring.checks.history import recorded_observation
from monitoring.checks.record import measure
from monitoring.checks.sequential_test import Observation, SequentialTest


@dataclass(frozen=True)
class Measured:
    """What spot labels say of an encoder.

    Args:
        block: the labelled pairs.
        found: its agreement with them.
    """

    block: Block
    found: Agreement


@dataclass(frozen=True)
class Examination:
    """A version, loaded once, and what was measured of it when it was made.

    Args:
        encoder: the encoder.
        evidence: what was measured when the version was made.
        settings: margin and levels.
    """

    encoder: Encoder
    evidence: Evidence
    settings: DriftSettings
    _measured: dict[str, Measured] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def of(settings: Settings, registry: Registry, version: EncoderVersion) -> "Examination":
        """Fetch a version and open it."""
        encoder = open_encoder(registry, version, settings)
        return Examination(encoder, registry.evidence(version), settings.drift)

    @cached_property
    def promoted(self) -> Observation:
        """Agreement on the report split when the version was made."""
        return recorded_observation(self.evidence.figures["encoder"]["rho"], self.evidence.candidates)

    def measure(self, spot: LabelSet) -> Measured:
        """Hold the encoder against spot labels; the last batch that was bought is what the check is made from."""
        if spot.id not in self._measured:
            block = spot.evidence("report")
            self._measured[spot.id] = Measured(block, measure(self.encoder, block))
        return self._measured[spot.id]

    def is_clear(self, spot: LabelSet, before: Sequence[Observation]) -> bool:
        """Whether more labels of the same draw would change little, given the earlier looks."""
        least = self.settings.min_queries
        looks = [look for look in (*before, Observation.of(self.measure(spot).found)) if look.usable(least)]
        if not looks or not self.promoted.usable(least):
            return False
        return SequentialTest.of(self.promoted, looks, self.settings).clear

    def judge(self, found: Agreement, before: Sequence[Observation], created: str) -> Judgement:
        """The decision about the version, from this agreement and the earlier looks."""
        return judge_drift(self.promoted, [*before, Observation.of(found, created)], self.settings)
