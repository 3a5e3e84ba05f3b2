"""The pictures of docs/screens: what people see of a loop that ran, in headless Chromium.

Without arguments a stack of its own is started in .influcoder/screens, with the history of `small_history.py`.
With `--stack demo` the pictures are of the stack that `make demo KEEP=1` left running.

    python docs/screenshots.py [--stack NAME] [--keep]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from small_history import KNOWN, live, write_settings

from influcoder.core.errors import InflucoderError, MissingPackageError, ServiceError
from influcoder.local.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
# From the root: what pages show of paths tells nothing of this machine.
SCREENS, STACKS = Path("docs/screens"), Path(".influcoder")
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Lines of charts are drawn by an animation, which a busy machine does not end in time.
    "--force-prefers-reduced-motion",
)
# Pages load their data after their scripts, and animate what they draw.
PATIENCE_MS, LIMIT_SECONDS, MOST_BYTES = 15_000, 120, 250_000


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", help="a stack that is running, `.influcoder/NAME`; its own unless given")
    parser.add_argument("--keep", action="store_true", help="leave its own stack running, as `--stack screens`")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    try:
        chromium = find_chromium()
        with told_of(chosen.stack) if chosen.stack else a_history(STACKS / "screens", chosen.keep) as stack:
            pictures(chromium, stack)
    except InflucoderError as error:
        sys.exit(str(error))


def find_chromium() -> str:
    """The browser: what `CHROMIUM` names, else one of the usual names on the path."""
    named = os.environ.get("CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        what = f"CHROMIUM names {named!r}, which is no program." if named else "there is no Chromium on the path."
        raise MissingPackageError(what, "Install it (Debian: apt-get install chromium), or set CHROMIUM=/path/to/it.")
    return found


@contextmanager
def told_of(name: str) -> Iterator[Stack]:
    """A stack that is running already."""
    stack = Stack(STACKS / name)
    if stack.pid is None:
        raise ServiceError(f"the stack {name!r} does not run.", f"Run: influcoder --stack {name} up")
    os.environ.update(stack.environment())
    yield stack


@contextmanager
def a_history(folder: Path, keep: bool) -> Iterator[Stack]:
    """A stack of its own with a history, stopped at the end unless it is to be kept."""
    stack = Stack(folder)
    stack.stop()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_settings(folder, folder / "decoder", KNOWN)
    try:
        stack.start()
        os.environ.update(stack.environment())
        live(folder)
        yield stack
    finally:
        if not keep:
            stack.stop()


def pictures(chromium: str, stack: Stack) -> None:
    """Every picture, each in a file of its own."""
    SCREENS.mkdir(exist_ok=True)
    for name, page in pages(stack).items():
        shoot(chromium, page, SCREENS / f"{name}.png")
    keep_small(cause_plot(), SCREENS / "cause.png")


class Page(NamedTuple):
    """A page's address, the size of its window, and how much of that is shown."""

    url: str
    width: int
    height: int
    shown: int | None = None


def pages(stack: Stack) -> dict[str, Page]:
    """Every page that is shown, by its picture's name."""
    from influcoder.registry.mlflow_registry import CHAMPION, Registry
    from influcoder.settings.tree import load_settings
    from monitoring.reports.dashboard import PROJECT

    urls, champion = stack.urls(), Registry(load_settings().mlflow).version(CHAMPION)
    project = next(p["id"] for p in ask(f"{urls['evidently']}/api/projects/") if p["name"] == PROJECT)
    found = check_artifact(urls["prefect"])
    return {
        "evidently": Page(f"{urls['evidently']}/projects/{project}", 1400, 2500),
        # On its right MLflow opens an assistant.
        "mlflow": Page(champion.url, 1700, 2000, shown=1265),
        "prefect": Page(f"{urls['prefect']}/runs/flow-run/{found['flow_run_id']}", 1400, 900),
        "artifact": Page(f"{urls['prefect']}/artifacts/artifact/{found['id']}", 1400, 700),
    }


def check_artifact(prefect: str) -> dict:
    """The summary of the newest check that found a drift, or of the newest check."""
    wanted = {"artifacts": {"key": {"any_": ["check-summary"]}}, "sort": "CREATED_DESC", "limit": 100}
    found = ask(f"{prefect}/api/artifacts/filter", wanted)
    if not found:
        raise ServiceError("Prefect has no summary of a check.", "Run a check on this stack first.")
    return next((item for item in found if item["description"].endswith("drift")), found[0])


def cause_plot() -> Path:
    """The plot of the newest cause in the store."""
    from influcoder.settings.tree import load_settings
    from influcoder.storage.object_store import ObjectStore
    from monitoring.checks.record import checks

    store = ObjectStore(load_settings().store)
    known = [f"checks/{check.id}/cause.png" for check in checks(store)]
    found = next((key for key in reversed(known) if store.exists(key)), None)
    if found is None:
        raise ServiceError("no check of this stack fell, so there is no cause to show.", "Run a longer history.")
    path = Path(tempfile.mkdtemp(), "cause.png")
    store.fetch(found, path)
    return path


def ask(url: str, body: dict | None = None):
    """What a server says as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def shoot(chromium: str, page: Page, path: Path) -> None:
    """One page as a picture."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole.png")
        options = [
            f"--user-data-dir={folder}/profile",
            f"--window-size={page.width},{page.height}",
            f"--screenshot={whole}",
        ]
        command = [chromium, *FLAGS, *options, f"--virtual-time-budget={PATIENCE_MS}", page.url]
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        if done.returncode or not whole.is_file():
            raise ServiceError(f"{chromium} took no picture of {page.url}:\n{done.stderr[-2000:]}")
        keep_small(whole, path, page.shown)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {time.monotonic() - started:.0f} s")


def keep_small(source: Path, path: Path, width: int | None = None) -> None:
    """The left part of a picture, in as many colours as a repository has room for."""
    with Image.open(source) as whole:
        picture = whole.convert("RGB").crop((0, 0, width or whole.width, whole.height))
        # Median cut would drop the few pixels of a colour that is there to be seen.
        picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise ServiceError(f"{path} has {path.stat().st_size} bytes.", f"Show less: {MOST_BYTES} at most.")


if __name__ == "__main__":
    main()
