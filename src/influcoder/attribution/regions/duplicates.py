"""Near-duplicates among texts, by MinHash (Broder, "On the resemblance and containment of documents", 1997)."""

from collections.abc import Sequence

from influcoder.core.progress import progress

RESEMBLANCE = 0.8
_PERMUTATIONS, _WORDS = 64, 3


def groups_of_duplicates(texts: Sequence[str], resemblance: float = RESEMBLANCE) -> list[list[int]]:
    """Texts that nearly repeat each other.

    Two texts are near-duplicates where the Jaccard index of their runs of three words is at least `resemblance`, as far
    as 64 permutations can tell (its standard error is 0.05 there).

    Args:
        texts: the texts.
        resemblance: between 0 and 1.
    Returns:
        places of texts that belong together, two or more in a group, the largest groups first.
    """
    from datasketch import MinHash, MinHashLSH

    known = MinHashLSH(threshold=resemblance, num_perm=_PERMUTATIONS)
    heads: dict[int, list[int]] = {}
    sketches: dict[int, MinHash] = {}
    with progress("near-duplicates", len(texts)) as ticker:
        for place, text in enumerate(texts):
            sketch = MinHash(num_perm=_PERMUTATIONS)
            sketch.update_batch([run.encode() for run in _runs(text)])
            near = [head for head in known.query(sketch) if sketches[head].jaccard(sketch) >= resemblance]
            if near:
                heads[min(near)].append(place)
            else:
                # Only the first of a group is looked up, so a group costs its size and not its square.
                known.insert(place, sketch)
                heads[place], sketches[place] = [place], sketch
            ticker.advance(1)
    return sorted((group for group in heads.values() if len(group) > 1), key=lambda group: (-len(group), group[0]))


def _runs(text: str) -> set[str]:
    words = text.lower().split()
    return {" ".join(words[start : start + _WORDS]) for start in range(max(len(words) - _WORDS + 1, 1))}
