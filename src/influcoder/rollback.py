"""Which version a rollback goes to, and what speaks against it."""

from influcoder.champions import State
from influcoder.digests import FILES
from influcoder.errors import RegistryError
from influcoder.journal import line_of
from influcoder.registry import EncoderVersion


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
    promoted = any(entry.version == version for entry in past) or target.tags.get("gate") == "passed"
    kept = next((e.digests[FILES] for e in reversed(past) if e.version == version and FILES in e.digests), files)
    fingerprint = target.tags.get("decoder.fingerprint", "")
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
