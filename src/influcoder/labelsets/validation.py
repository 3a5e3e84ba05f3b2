"""Great Expectations between labelling and publishing: a label set that breaks a rule is not published."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from influcoder.core.errors import ValidationFailedError
from influcoder.labelsets.labelset import LabelSet
from influcoder.labelsets.plan import REFERENCE, ROLES
from influcoder.settings.teacher import COSINES

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

# A gradient this many robust standard deviations (on a log scale) from the median is no ordinary sample.
OUTLIER_DEVIATIONS = 12.0
CONSTANT_ROW_SPREAD = 1e-6
_DOCS = "gx/uncommitted/data_docs/local_site"
# How the expectation on what the length limit cuts away is named among the failures.
_CUT = "column_mean_to_be_between cut"
_PAGES = (".html", ".css", ".svg", ".ico", ".png")


@dataclass(frozen=True)
class Validation:
    """What Great Expectations found.

    Args:
        failures: one line for each expectation that does not hold.
        checked: number of expectations.
        docs: pages of the Data Docs by relative path; `index.html` leads to the others.
    """

    failures: tuple[str, ...]
    checked: int
    docs: dict[str, bytes]

    @property
    def success(self) -> bool:
        """Whether every expectation holds."""
        return not self.failures

    def enforce(self, label_set_id: str) -> None:
        """Refuse the label set where an expectation does not hold.

        Raises:
            ValidationFailedError: the message names each that does not.
        """
        if not self.success:
            raise ValidationFailedError(
                f"label set {label_set_id} is not published: {'; '.join(self.failures)}.",
                f"{_remedy(self.failures)}, or set labels.strict = false to publish it all the same.",
            )

    def page(self, table: str) -> str:
        """Relative path of the result page of one table."""
        return next(path for path in self.docs if path.startswith(f"validations/{table}/"))


def validate(label_set: LabelSet, strict: bool = True, max_cut: float = 1.0) -> Validation:
    """Hold a label set against its expectations.

    Args:
        label_set: labels that are not published yet.
        strict: raise where one does not hold; else it is only reported.
        max_cut: the largest share of a text, in the mean over all, that the length limit may cut away.
    Raises:
        ValidationFailedError: an expectation does not hold; the message names each.
    """
    validation = _run(
        {
            "samples": (samples_table(label_set), _samples_suite(label_set, max_cut)),
            "pairs": (label_set.pairs, _pairs_suite(label_set)),
            "rows": (rows_table(label_set), _rows_suite()),
        }
    )
    if strict:
        validation.enforce(label_set.id)
    return validation


def _remedy(failures: tuple[str, ...]) -> str:
    if any(_CUT in failure for failure in failures):
        return "Raise teacher.max_tokens, so that less of each text is cut away (labels.max_cut is the limit)"
    return "Mend the samples"


def samples_table(label_set: LabelSet) -> pd.DataFrame:
    """A row for each sample, with what the expectations need: the text as an encoder sees it, the norm's deviation."""
    frame = label_set.samples
    frame = frame.assign(view=frame["text"].str.lower().str.split().str.join(" "))
    if label_set.features is not None:
        logs = np.log(np.maximum(frame["norm"].to_numpy(np.float64), 1e-30))
        centre = np.median(logs)
        spread = 1.4826 * np.median(np.abs(logs - centre))
        frame = frame.assign(norm_deviation=(logs - centre) / max(spread, 1e-3))
    return frame.drop(columns=["context", "text"])


def rows_table(label_set: LabelSet) -> pd.DataFrame:
    """A row for each query: the spread of its scores over the candidates, relative where scores are no cosines."""
    scores = label_set.pairs.groupby(["query", "split"], sort=False)["score"]
    spread = scores.agg(lambda s: float(np.ptp(s)))
    if label_set.identity.teacher.spec.method not in COSINES:
        spread = spread / scores.agg(lambda s: float(np.abs(s).max()) or 1.0)
    return spread.rename("spread").reset_index()


def _samples_suite(label_set: LabelSet, max_cut: float) -> list[Any]:
    from great_expectations import expectations as expect

    return [
        expect.ExpectTableRowCountToEqual(value=len(label_set.identity.samples)),
        expect.ExpectColumnValuesToBeUnique(column="hash"),
        # One text in two splits would be leakage; in two roles, a pair of a sample with itself.
        expect.ExpectColumnValuesToBeUnique(column="view"),
        expect.ExpectColumnValuesToBeInSet(column="role", value_set=[*ROLES, REFERENCE]),
        expect.ExpectColumnValuesToBeInSet(column="split", value_set=["train", "selection", "report"]),
        expect.ExpectColumnValueLengthsToBeBetween(column="target", min_value=1),
        *[_no_null(name) for name in ("hash", "id", "role", "split", "target")],
        *(_feature_expectations(max_cut) if label_set.features is not None else []),
    ]


def _feature_expectations(max_cut: float) -> list[Any]:
    from great_expectations import expectations as expect

    return [
        *[_no_null(name) for name in ("norm", "loss", "cut")],
        expect.ExpectColumnValuesToBeBetween(column="norm", min_value=0, strict_min=True),
        expect.ExpectColumnValuesToBeBetween(
            column="norm_deviation", min_value=-OUTLIER_DEVIATIONS, max_value=OUTLIER_DEVIATIONS
        ),
        expect.ExpectColumnValuesToBeBetween(column="loss", min_value=0),
        expect.ExpectColumnValuesToBeBetween(column="cut", min_value=0, max_value=1, strict_max=True),
        expect.ExpectColumnMeanToBeBetween(column="cut", max_value=max_cut),
    ]


def _pairs_suite(label_set: LabelSet) -> list[Any]:
    from great_expectations import expectations as expect

    return [
        expect.ExpectTableColumnsToMatchSet(column_set=["query", "candidate", "split", "score"], exact_match=True),
        expect.ExpectColumnValuesToBeOfType(column="score", type_="float32"),
        expect.ExpectColumnValuesToBeOfType(column="query", type_="str"),
        expect.ExpectColumnValuesToBeOfType(column="candidate", type_="str"),
        expect.ExpectCompoundColumnsToBeUnique(column_list=["query", "candidate"]),
        *[_no_null(name) for name in ("query", "candidate", "split", "score")],
        *_score_range(label_set.identity.teacher.spec.method),
        *([] if label_set.features is None else [expect.ExpectTableRowCountToEqual(value=_pair_count(label_set))]),
    ]


def _score_range(method: str) -> list[Any]:
    from great_expectations import expectations as expect

    # A dot product has no bounds, but it is a number.
    most = 1.0 if method in COSINES else float(np.finfo(np.float32).max)
    return [expect.ExpectColumnValuesToBeBetween(column="score", min_value=-most, max_value=most)]


def _rows_suite() -> list[Any]:
    from great_expectations import expectations as expect

    return [expect.ExpectColumnValuesToBeBetween(column="spread", min_value=CONSTANT_ROW_SPREAD)]


def _no_null(column: str) -> Any:
    from great_expectations import expectations as expect

    return expect.ExpectColumnValuesToNotBeNull(column=column)


def _pair_count(label_set: LabelSet) -> int:
    refs = label_set.identity.samples
    counts = {
        (split, role): sum(ref.split == split and ref.role == role for ref in refs)
        for split in label_set.splits
        for role in ROLES
    }
    return sum(counts[split, "query"] * counts[split, "candidate"] for split in label_set.splits)


def _run(tables: dict[str, tuple[pd.DataFrame, list[Any]]]) -> Validation:
    import great_expectations as gx

    with tempfile.TemporaryDirectory() as folder:
        context = gx.get_context(mode="file", project_root_dir=folder)
        context.variables.progress_bars = {"globally": False}
        source = context.data_sources.add_pandas("label_set")
        results = [_check(context, source, name, frame, suite) for name, (frame, suite) in tables.items()]
        context.build_data_docs()
        docs = dict(_pages(Path(folder, _DOCS)))
    outcomes = [(name, outcome) for name, result in results for outcome in result.results]
    failures = tuple(_failure(name, outcome) for name, outcome in outcomes if not outcome.success)
    return Validation(failures, len(outcomes), docs)


def _check(context: Any, source: Any, name: str, frame: pd.DataFrame, suite: list[Any]) -> tuple[str, Any]:
    import great_expectations as gx

    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    expectations = context.suites.add(gx.ExpectationSuite(name=name, expectations=suite))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=expectations))
    checkpoint = context.checkpoints.add(gx.Checkpoint(name=name, validation_definitions=[definition]))
    done = checkpoint.run(batch_parameters={"dataframe": frame})
    return name, next(iter(done.run_results.values()))


def _pages(site: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(site.rglob("*")):
        if path.is_file() and path.suffix in _PAGES:
            yield path.relative_to(site).as_posix(), path.read_bytes()


def _failure(table: str, outcome: Any) -> str:
    config = outcome.expectation_config
    column = config.kwargs.get("column", "")
    result = outcome.result or {}
    if "observed_value" in result:
        detail = f"observed {result['observed_value']}"
    elif "unexpected_count" in result:
        detail = f"{result['unexpected_count']} rows, such as {result.get('partial_unexpected_list', [])[:2]}"
    else:
        detail = str((outcome.exception_info or {}).get("exception_message", "it raised"))
    return f"{table}: {config.type.removeprefix('expect_')} {column}({detail})"
