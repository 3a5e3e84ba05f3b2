"""Long texts where there is little room."""


def excerpt(text: str, length: int) -> str:
    """A text on one line, cut off after so many characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"
