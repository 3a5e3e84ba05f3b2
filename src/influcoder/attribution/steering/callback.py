"""A callback that follows estimated influence through a training, and says when it no longer should."""

import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from influcoder.attribution.steering.labels import distil_now, exact
from influcoder.attribution.steering.plan import Steering
from influcoder.attribution.steering.sampler import InfluenceSampler, Segment
from influcoder.attribution.steering.snapshot import decoder_now, untouched_randomness
from influcoder.attribution.steering.state import KEY, Steered, digest_of
from influcoder.attribution.steering.trust import doubt, draw_spot
from influcoder.attribution.steering.weights import effective_samples, estimates, weights_of
from influcoder.core.errors import EncoderError, InflucoderError
from influcoder.core.files import whole
from influcoder.decoder.checkpoint import Decoder
from influcoder.encoder import Encoder
from influcoder.samples import Sample
from influcoder.statistics.agreement import Agreement, agreement

logger = logging.getLogger(__name__)
Array = np.ndarray
_THEN = {
    "uniform": "From here on all samples are drawn alike.",
    "warn": "The training goes on by them, as it was told to.",
    "stop": "The training stops; resumed, it draws all samples alike.",
}


@dataclass(frozen=True)
class Data:
    """What is trained on, and what for.

    Args:
        samples: the training samples, in the order of the data set's rows.
        queries: the validation queries.
        tokenizer: the decoder's.
    """

    samples: Sequence[Sample]
    queries: Sequence[Sample]
    tokenizer: Any


class InfluenceCallback(TrainerCallback):
    """Keeps a sampler's weights in step with estimated influence, and the estimates honest.

    It looks at a frozen view of the decoder and changes nothing of the training but the sampler's weights. Where it
    stands goes into every checkpoint of the Trainer, and is taken from there when a training is resumed.

    Args:
        data: what is trained on, and what for.
        encoder: whose estimates; one is solved for from exact labels when the training begins, unless given.
        steering: what the user chose.
        sampler: whose weights are kept; None only watches.
        say: logs figures, such as the Trainer's `log`.
        seed: of the draws.
    Attributes:
        state: where the steering stands.
    Raises:
        SampleError: there are too few samples or queries to measure agreement on.
    """

    def __init__(
        self,
        data: Data,
        encoder: Encoder | None,
        steering: Steering,
        sampler: InfluenceSampler | None,
        say: Callable[[dict[str, float]], None],
        seed: int = 0,
    ) -> None:
        self._data, self._steering, self._sampler, self._say = data, steering, sampler, say
        self._given = self._encoder = encoder
        self._spot, self._free = draw_spot(data.queries, data.samples, steering.spot, seed)
        if encoder is not None and self._spot.possibly_learnt:
            text = "%d of %d spot samples may have been among the encoder's labels, and flatter it"
            logger.warning(text, self._spot.possibly_learnt, len(self._spot.candidates))
        self._first: Agreement | None = None
        self.state = Steered(digest_of(data.samples, data.queries), seed)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_more: Any) -> None:
        """Begin with estimates and a first measurement, or where the checkpoint was."""
        found = state.stateful_callbacks.get(KEY)
        if found is not None:
            self._resume(Steered.unpacked(found, self.state.digest), args)
            return
        if state.global_step:
            logger.warning("the checkpoint was not steered; steering begins at step %d", state.global_step)
        self._encoder, self._first = self._given, None
        self.state = Steered(self.state.digest, self.state.seed)
        if self._sampler is not None:
            self._sampler.restore([Segment(0, 0)])
        if not self._steering.check_every:
            logger.warning("agreement is not measured: nothing will say when the estimates are no longer right")
        with untouched_randomness():
            decoder = decoder_now(model, self._data.tokenizer)
            if self._encoder is None:
                self._adopt(self._distilled(decoder, state), args, state)
            self._follow()
            if self._steering.check_every:
                self._check(decoder, args, state, control)
        self._keep(state)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Measure agreement when its step has come."""
        assert self._encoder is not None
        chosen = self._steering
        due = bool(chosen.check_every) and state.global_step % chosen.check_every == 0
        if not due or not (self.state.trusted or chosen.limits.when_untrusted == "warn"):
            return
        used = _used(args, state, more["train_dataloader"])
        with untouched_randomness():
            try:
                self._check(decoder_now(model, self._data.tokenizer), args, state, control, used)
            except (InflucoderError, np.linalg.LinAlgError) as error:
                # A measurement is not worth a training: it goes on, without what can't be measured.
                self._distrust(str(error), state, control, used)
        self._keep(state)

    def _follow(self, used: int = 0) -> None:
        """Draw by the encoder's estimates."""
        weighting = self._steering.weighting
        if self._sampler is None or weighting is None or self._encoder is None:
            return
        values = estimates(self._encoder, self._data.queries, self._data.samples)
        self._sampler.refresh(weights_of(values, weighting), used)

    def _check(self, decoder: Decoder, args: Any, state: Any, control: Any, used: int = 0) -> None:
        start = time.monotonic()
        labels = exact(decoder, self._steering.teacher, self._spot.queries, self._spot.candidates)
        reason = self._measured(labels, state, control, start)
        made_now = self.state.encoder == _folder_name(state)
        if reason and self._steering.limits.when_untrusted == "relabel" and not made_now:
            logger.warning("step %d: %s. A new encoder is solved for.", state.global_step, reason)
            self._adopt(self._distilled(decoder, state), args, state)
            self._first = None
            reason = self._measured(labels, state, control, start)
            if not reason:
                self._follow(used)
        if reason:
            self._distrust(reason, state, control, used)

    def _measured(self, labels: Array, state: Any, control: Any, start: float) -> str:
        """Log agreement on the spot pairs; why it is no ground for trust, empty where it is."""
        assert self._encoder is not None
        scores = self._encoder.scores(self._spot.queries, self._spot.candidates)
        now = agreement(scores, labels)
        reason = doubt(now, self._first, self._steering.limits)
        if self._first is None:
            self._first, self.state.first = now, (scores, labels)
        figures = {
            "influence/agreement": now.rho.value,
            "influence/agreement_lo": now.rho.lo,
            "influence/agreement_hi": now.rho.hi,
            "influence/aggregated_agreement": now.aggregated_rho.value,
            "influence/effective_samples": self._effective(),
            "influence/trusted": float(not reason),
            "influence/seconds": time.monotonic() - start,
        }
        self.state.measured.append({"step": state.global_step, **figures})
        should_log = control.should_log
        self._say(figures)
        # The Trainer takes it that its own figures were logged too.
        control.should_log = should_log
        return reason

    def _distrust(self, reason: str, state: Any, control: Any, used: int) -> None:
        """Say once that the estimates are not to be trusted, and do what the user chose."""
        if not self.state.trusted:
            return
        self.state.trusted = False
        then = self._steering.limits.when_untrusted
        text = "step %d: estimates of influence are not to be trusted: %s. %s"
        logger.warning(text, state.global_step, reason.rstrip("."), _THEN.get(then, _THEN["uniform"]))
        if self._sampler is not None and then != "warn":
            self._sampler.refresh(None, used)
        if then == "stop":
            control.should_training_stop = True

    def _distilled(self, decoder: Decoder, state: Any) -> Encoder:
        """A closed form from exact labels of samples outside the spot sample, other ones each time."""
        generator = np.random.default_rng((self.state.seed, 2, state.global_step))
        # What lies on the report side by content comes last, and is left as evidence for other encoders if it can be.
        rest = self._free[: max(self._steering.labels, math.ceil(len(self._free) * 0.8))]
        rows = generator.permutation(len(rest))[: self._steering.labels]
        chosen = [rest[row] for row in rows]
        return distil_now(decoder, self._steering.teacher, self._data.queries, chosen)

    def _adopt(self, encoder: Encoder, args: Any, state: Any) -> None:
        """Go on with an encoder that was made here; its folder is whole as soon as it has its name."""
        self._encoder, self.state.encoder = encoder, _folder_name(state)
        folder = Path(args.output_dir, self.state.encoder)
        with whole(folder) as part:
            encoder.save(part)
            shutil.rmtree(folder, ignore_errors=True)

    def _resume(self, found: Steered, args: Any) -> None:
        self.state = found
        if found.encoder:
            self._encoder = Encoder(str(Path(args.output_dir, found.encoder)), 1)
        if self._encoder is None:
            raise EncoderError("the checkpoint was steered by an encoder that was given.", "Give it again.")
        self._first = agreement(*found.first) if found.first else None
        if self._sampler is None:
            return
        segments = list(found.segments)
        if args.ignore_data_skip:
            # The epoch begins anew, under what held last.
            segments = [Segment(0, 0, segments[-1].weights)]
        self._sampler.seed = found.seed
        self._sampler.restore(segments)

    def _keep(self, state: Any) -> None:
        """The Trainer writes this with its own state, into every checkpoint from now on."""
        self.state.segments = self._sampler.segments if self._sampler is not None else ()
        state.stateful_callbacks[KEY] = self.state.packed()

    def _effective(self) -> float:
        return effective_samples(self._sampler.weights) if self._sampler else float(len(self._data.samples))


def _folder_name(state: Any) -> str:
    return f"influence-encoder-{state.global_step}"


def _used(args: Any, state: Any, loader: Any) -> int:
    """Draws of this epoch that have been trained on."""
    each = args.gradient_accumulation_steps
    steps = max(1, math.ceil(len(loader) / each))
    return ((state.global_step - 1) % steps + 1) * each * state.train_batch_size
