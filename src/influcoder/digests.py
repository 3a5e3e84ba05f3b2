"""What identifies the files of an encoder, wherever they lie."""

import hashlib
from pathlib import Path

FILES = "encoder.sha256"


def files_hash(folder: Path) -> str:
    """SHA-256 over the names and the content of all files of a folder."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return whole.hexdigest()
