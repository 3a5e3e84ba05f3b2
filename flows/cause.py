"""A check that found a fall → old and new decoder crossed with old and new data → why, and where."""

from prefect import flow
from prefect.artifacts import create_image_artifact

from flows.context import Place, load_place
from flows.steps import show, step
from influcoder.core.errors import InflucoderError
from influcoder.labelsets import load_label_set
from influcoder.registry.open_encoder import open_encoder
from monitoring.causes.explain import explain
from monitoring.causes.plot import cause_plot
from monitoring.causes.record import Explained, load_cause, plot_link, save_cause
from monitoring.checks.findings import Verdict
from monitoring.checks.probe_set import is_remembered, remember
from monitoring.checks.record import Check, load_check


@flow(name="cause", log_prints=True)
def cause(check_id: str) -> str:
    """Find out why agreement fell in one check, keep it beside the check and return the cause.

    Args:
        check_id: id of the check; everything else is read from the store.
    """
    place = load_place()
    return str(cause_of(place, load_check(place.store, check_id)).cause)


def cause_if_fell(place: Place, check: Check) -> None:
    """Remember the version's probe; where agreement fell, find the cause. A check stands without one."""
    try:
        keep_probe(place, check.encoder_version)
        if check.verdict in (Verdict.DRIFT, Verdict.WARN):
            cause_of(place, check)
    except InflucoderError as error:
        print(f"the cause is not known: {error}. Try again with: influcoder cause {check.id}")


@step("remember the probe")
def keep_probe(place: Place, version: str) -> None:
    """Fix the probe of a version, at its first check."""
    store, label_set = place.store, place.registry.version(version).label_set_id
    if not is_remembered(store, label_set):
        remember(store, load_label_set(store, label_set), place.settings.cause.probe)


@step("find the cause")
def cause_of(place: Place, check: Check) -> Explained:
    """The cause of a check: the one that was found already, or one that is found now."""
    store, registry = place.store, place.registry
    found = load_cause(store, check.id)
    if found is None:
        version = registry.version(check.encoder_version)
        # The check may have been of another decoder than the one in use now.
        settings = place.settings.model_copy(update={"decoder": check.decoder_uri})
        encoder = open_encoder(registry, version, settings)
        explained = explain(settings, store, encoder, version.label_set_id, check)
        found = save_cause(store, explained, cause_plot(explained))
    show("cause", found.summary, found.rows(), {})
    create_image_artifact(plot_link(store, check.id), key="cause-plot", description=f"Cause: {found.cause}")
    print(f"cause: {found.cause}; {found.reason}")
    return found
