"""The succession of champions: each move is journalled first, then the alias follows, so a killed move can be finished.

A move that was done is noted on the version (`journal.entry`), which tells a move that was killed half-way from an
alias that somebody moved by hand later.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from influcoder.core import tags
from influcoder.core.errors import ChangedMeanwhileError, RegistryError
from influcoder.core.files import files_hash
from influcoder.core.provenance import code_commit
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.journal import Action, Entry, Event, append, champion_of, confirm, entries, line_of
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.storage.object_store import ObjectStore

_IDENTITY = (tags.LABEL_SET, tags.DECODER, tags.TEACHER, tags.COMMIT)
_REMEDIES = (
    "Run: influcoder journal --repair (the alias follows the journal), "
    "or influcoder journal --adopt (the journal follows the alias)"
)


@dataclass(frozen=True)
class State:
    """The journal beside the alias.

    Args:
        entries: the journal, oldest first.
        alias: the version that MLflow calls champion; None where there is none.
        unfinished: the entry whose move was killed, before or just after the alias moved; None where there is none.
    """

    entries: tuple[Entry, ...]
    alias: EncoderVersion | None
    unfinished: Entry | None = None

    @property
    def recorded(self) -> str | None:
        """The version that the alias must point to."""
        return champion_of(self.entries)

    @property
    def pointed(self) -> str | None:
        """The version that the alias points to."""
        return self.alias.version if self.alias else None

    @property
    def problem(self) -> str:
        """How the alias differs from the journal, and what to do; empty where it does not."""
        if self.recorded == self.pointed:
            return ""
        said = f"the journal says {_words(self.recorded)}, MLflow says {_words(self.pointed)}"
        if self.recorded is None:
            return f"{said}. Run: influcoder journal --adopt (so does the next promotion)"
        if self.unfinished:
            return f"a move of the alias was killed half-way: {said}. Run: influcoder journal --repair"
        return f"the alias was moved by hand: {said}. {_REMEDIES}"


class Champions:
    """Who is champion: the journal in the store, and the alias in MLflow that follows it.

    Args:
        store: holds the journal.
        registry: holds versions and aliases.
    """

    def __init__(self, store: ObjectStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def state(self) -> State:
        """Journal and alias as they are now."""
        found, alias = entries(self._store, self._registry.model), self._registry.find(CHAMPION)
        state = State(tuple(found), alias)
        last = next((entry for entry in reversed(found) if entry.action.moves), None)
        if last is None or state.pointed not in (last.version, last.prior, last.evidence.get("alias")):
            return state
        target = self._registry.find(last.version)
        done = target is None or target.tags.get(tags.JOURNAL_ENTRY) == str(last.number)
        return state if done else State(tuple(found), alias, last)

    def settle(self, actor: str) -> State:
        """Bring journal and alias together before a decision: finish a killed move, note one that was made by hand.

        Raises:
            RegistryError: there is a champion by the journal, and no alias at all.
        """
        confirm(self._store, self._registry.model)
        state = self.state()
        if state.unfinished:
            self._follow(state.unfinished)
        elif not state.problem:
            return state
        elif state.alias:
            self._note(state, state.alias, actor, "the alias was found here; it was moved outside Influcoder")
        else:
            raise RegistryError(state.problem)
        return self.state()

    def move(self, event: Event) -> Entry:
        """Make a version the champion.

        Raises:
            ChangedMeanwhileError: the champion is not the one that the event calls prior.
        """
        present = self._registry.find(CHAMPION)
        if (present.version if present else None) != event.prior:
            raise ChangedMeanwhileError("the champion changed meanwhile.", "Run the same step again.")
        return self._follow(append(self._store, self._registry.model, event))

    def note(self, event: Event) -> Entry:
        """Journal what moves no alias: a version that did not become champion, an approval, the breaker."""
        return append(self._store, self._registry.model, event)

    def adopt(self, actor: str, reason: str) -> Entry:
        """Journal an alias that was moved by hand.

        Raises:
            RegistryError: journal and alias agree, or there is no alias.
        """
        state = self.state()
        if state.alias is None or not state.problem:
            raise RegistryError("there is nothing to adopt.", _agreement(state))
        return self._note(state, state.alias, actor, reason or "the alias was moved by hand")

    def repair(self, actor: str, reason: str) -> Entry:
        """Move the alias to where the journal says; the entry that it follows.

        Raises:
            RegistryError: journal and alias agree, or the journal names no champion.
        """
        state = self.state()
        if state.recorded is None or not state.problem:
            raise RegistryError("there is nothing to repair.", _agreement(state))
        if state.unfinished:
            return self._follow(state.unfinished)
        event = Event(
            action=Action.REPAIRED,
            version=state.recorded,
            prior=state.recorded,
            actor=actor,
            reason=reason or f"MLflow said {_words(state.pointed)}",
            evidence={"alias": state.pointed},
        )
        return self._follow(append(self._store, self._registry.model, event))

    def _note(self, state: State, alias: EncoderVersion, actor: str, reason: str) -> Entry:
        event = Event(
            action=Action.ADOPTED,
            version=alias.version,
            prior=state.recorded,
            actor=actor,
            reason=reason,
            digests=digests_of(self._registry, alias),
        )
        return self._follow(append(self._store, self._registry.model, event))

    def _follow(self, entry: Entry) -> Entry:
        """Do to the alias what the journal says, and note that it was done."""
        about: dict[str, str] = {}
        if entry.action is Action.PROMOTED:
            over = {tags.PROMOTED_OVER: entry.prior or "none", tags.PROMOTED_BY: code_commit()}
            about = {tags.GATE: "passed", tags.PROMOTED_AT: entry.created, **over}
        version = self._registry.promote(self._registry.version(entry.version), about)
        self._registry.tag(version, {tags.JOURNAL_ENTRY: str(entry.number)})
        return entry


def digests_of(registry: Registry, version: EncoderVersion) -> dict[str, str]:
    """What identifies a version: its run, what it came from, and SHA-256 over its files' names and content."""
    with tempfile.TemporaryDirectory() as folder:
        files = files_hash(registry.download(version, Path(folder)))
    return {"run.id": version.run_id, tags.FILES: files, **{n: version.tags[n] for n in _IDENTITY if n in version.tags}}


def _agreement(state: State) -> str:
    return state.problem or f"The journal and MLflow both say {_words(state.recorded)}."


def _words(version: str | None) -> str:
    return f"version {version}" if version else "no champion"


def default_target(state: State) -> str:
    """The champion before the present one; a rollback after a rollback goes on backwards.

    Raises:
        RegistryError: the journal knows of none.
    """
    line = line_of(state.entries)
    if len(line) < 2:
        raise RegistryError("the journal knows of no champion before the present one.", "Name a version: --to VERSION")
    return line[-2]


def objections(state: State, target: EncoderVersion, decoder: str, files: str) -> list[str]:
    """What speaks against a version as champion, a sentence each; empty where nothing does.

    Args:
        state: journal and alias.
        target: the version.
        decoder: fingerprint of the decoder in use now.
        files: SHA-256 of the version's files as they are now.
    """
    version, past = target.version, [entry for entry in state.entries if entry.action.moves]
    promoted = any(entry.version == version for entry in past) or target.tags.get(tags.GATE) == "passed"
    kept = next(
        (e.digests[tags.FILES] for e in reversed(past) if e.version == version and tags.FILES in e.digests), files
    )
    fingerprint = target.tags.get(tags.DECODER, "")
    other = f"for decoder {fingerprint[:12] or 'unknown'}, but {decoder[:12]} is in use"
    rules = (
        (promoted, f"version {version} was never champion and passed no gate"),
        (fingerprint == decoder, f"version {version} was distilled {other}"),
        (kept == files, f"the files of version {version} are not those that the journal knows"),
    )
    return [words for holds, words in rules if not holds]


def refuse(found: list[str]) -> None:
    """Stop where anything speaks against a rollback.

    Raises:
        RegistryError: something does; the message says all of it.
    """
    if found:
        raise RegistryError(f"no rollback: {'; '.join(found)}.", "Name another version (--to), or insist with --force.")
