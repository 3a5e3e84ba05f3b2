"""Fresh spot labels of a check: a draw that grows until the decision is clear or a budget ends."""

import time
from collections.abc import Callable

from influcoder.labelsets import LabelSet, Plan, plan_spot
from influcoder.labelsets.build import count_cached, decoder_for, label_plan, read_corpora, warn_of_change
from influcoder.samples.query_log import lately
from influcoder.settings.labels import SplitBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.buying import Ledger, batches_of, buy


def buy_labels(
    settings: Settings,
    spec: TeacherSpec,
    store: ObjectStore,
    seed: int,
    is_clear: Callable[[LabelSet], bool],
) -> tuple[LabelSet, Ledger]:
    """Label a fresh draw under the decoder as it is now, batch by batch.

    Every draw holds the ones before it, so that nothing is labelled twice; only the last one is a label set that
    anybody sees. A teacher that scores pairs scores whole splits, and is asked once.

    Args:
        settings: budgets and what is drawn from.
        spec: the teacher.
        store: where features are kept.
        seed: of the draw.
        is_clear: whether the decision is clear with these labels.
    Raises:
        SampleError: a corpus holds too few samples for the whole budget of samples.
    """
    start = time.monotonic()
    corpora, decoder = read_corpora(settings), decoder_for(settings, spec)
    asked = lately(store, settings.asked)

    def plan(size: SplitBudget) -> Plan:
        of = settings.labels.seed
        return plan_spot(*corpora, size, seed, spec.curved_on, of, asked=asked, mix=settings.asked)

    def label(size: SplitBudget) -> tuple[LabelSet, int, int]:
        drawn = plan(size)
        cached = count_cached(settings, decoder, spec, drawn, store)
        labels = label_plan(settings, decoder, spec, drawn, store)
        return labels, len(drawn.samples), len(drawn.samples) - cached

    spot = settings.labels.spot
    plan(spot)
    sizes = [spot] if spec.pairwise else batches_of(spot, settings.buying)
    _, batches, stopped = buy(sizes, label, is_clear, settings.buying)
    last = SplitBudget(queries=batches[-1].queries, candidates=batches[-1].candidates)
    # What the labels are worth is measured once, on the draw that is kept; its features are cached by now.
    labels = label_plan(settings, decoder, spec, plan(last), store, measured=True)
    warn_of_change(settings, decoder)
    seconds = time.monotonic() - start
    cost = seconds * settings.buying.price_per_hour / 3600 if settings.buying.price_per_hour else None
    return labels, Ledger(batches=tuple(batches), seconds=round(seconds, 2), cost=cost, stopped=stopped)
