"""What requests may hold, with limits on their size."""

from pydantic import BaseModel, ConfigDict, Field

from influcoder.core.errors import SampleError
from influcoder.samples import Sample
from influcoder.samples.sample import content_id
from influcoder.serving.outputs import Exchange

# Characters of one text; an encoder and a decoder see the first thousands of tokens at most.
LONGEST = 50_000
MOST_OUTPUTS, MOST_SAMPLES, MOST_QUERIES, MOST_RESULTS = 32, 256, 32, 100
# Bytes of a body, before anything of it is parsed.
LARGEST = 8 * 2**20


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Text(_Body):
    """A sample: what stands before, and what the loss is taken on."""

    context: str = Field("", max_length=LONGEST)
    target: str = Field(min_length=1, max_length=LONGEST)

    def sample(self) -> Sample:
        """The sample that it is.

        Raises:
            SampleError: the target is blank.
        """
        if not self.target.strip():
            raise SampleError("a target is empty.", "Give every sample a target.")
        return Sample(content_id(self.context, self.target), self.context, self.target, source="request")


class Output(_Body):
    """What the decoder was asked and what it said; it answers itself where no answer is given."""

    id: str = Field("", max_length=1000)
    prompt: str = Field("", max_length=LONGEST)
    answer: str = Field("", max_length=LONGEST)

    def exchange(self) -> Exchange:
        """The same for the library."""
        return Exchange(self.id, self.prompt, self.answer)


class Attribute(_Body):
    """Outputs to attribute, and how much to give of each.

    Args:
        outputs: one or several.
        k: how many of the most influential samples.
        least: how many of the least influential ones.
        private: leave the outputs out of the log of questions.
    """

    outputs: list[Output] = Field(min_length=1, max_length=MOST_OUTPUTS)
    k: int = Field(10, ge=1, le=MOST_RESULTS)
    least: int = Field(0, ge=0, le=MOST_RESULTS)
    private: bool = False


class Embed(_Body):
    """Samples to embed."""

    samples: list[Text] = Field(min_length=1, max_length=MOST_SAMPLES)


class Score(_Body):
    """Queries, and the candidates whose influence on each is estimated."""

    queries: list[Text] = Field(min_length=1, max_length=MOST_QUERIES)
    candidates: list[Text] = Field(min_length=1, max_length=MOST_SAMPLES)
