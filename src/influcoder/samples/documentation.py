"""The documentation of installed packages as a corpus of questions and answers.

The sources are parsed, never imported: nothing of the packages runs, and only their text counts.
"""

import ast
import importlib.util
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path

from influcoder.core.errors import SampleError
from influcoder.samples.sample import Sample, content_id

MIN_CHARACTERS = 120
_SKIPPED_FOLDERS = {"tests", "test", "testing", "_vendor", "vendor", "_vendored_packages", "testdata"}


def read_documentation(packages: str) -> Iterator[Sample]:
    """Docstrings of 120 characters and more.

    Args:
        packages: names of installed packages or modules, separated by commas (`numpy,scipy.stats`).
    Yields:
        samples whose `context` is a question about one function, class or module, whose `target` is
        its docstring, and whose `source` is the module it stands in, two levels deep.
    Raises:
        SampleError: a package is not installed, or has no Python source.
    """
    for name in _names(packages):
        for module, path in _modules(name):
            yield from _module_samples(module, path)


def sources_of(packages: str) -> Iterator[Path]:
    """The files that `read_documentation` reads."""
    for name in _names(packages):
        for _, path in _modules(name):
            yield path


def _names(packages: str) -> list[str]:
    names = [name.strip() for name in packages.split(",") if name.strip()]
    if not names:
        raise SampleError("docs: names no package.", "Write for instance docs:numpy,scipy.")
    return names


def _modules(name: str) -> Iterator[tuple[str, Path]]:
    root = _root(name)
    if root.is_file():
        yield name, root
        return
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED_FOLDERS.isdisjoint(parts):
            yield ".".join([name, *parts]).removesuffix(".__init__"), path


def _root(name: str) -> Path:
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SampleError(f"docs:{name}: the package is not installed.", f"Install {top}, or name another one.")
    folders = spec.submodule_search_locations or []
    candidates = [Path(folder, *rest) for folder in folders]
    candidates += [path.with_suffix(".py") for path in candidates if rest]
    if not rest and spec.origin and spec.origin.endswith(".py") and not folders:
        candidates.append(Path(spec.origin))
    found = next((path for path in candidates if path.is_dir() or path.is_file()), None)
    if found is None:
        raise SampleError(f"docs:{name}: there is no Python source of that name.", "Name another one.")
    return found


def _module_samples(module: str, path: Path) -> Iterator[Sample]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        # Packages ship templates and fixtures that are no valid Python; they document nothing.
        return
    source = ".".join(module.split(".")[:2])
    for name, node in _documented(tree, module):
        doc = ast.get_docstring(node, clean=False)
        target = inspect.cleandoc(doc) if doc else ""
        if len(target) >= MIN_CHARACTERS:
            yield _sample(name, target, source)


def _documented(tree: ast.Module, module: str) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    yield module, tree
    pending: list[tuple[str, ast.AST]] = [(module, tree)]
    while pending:
        prefix, parent = pending.pop(0)
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                name = f"{prefix}.{node.name}"
                yield name, node
                if isinstance(node, ast.ClassDef):
                    pending.append((name, node))


def _sample(name: str, target: str, source: str) -> Sample:
    context = f"<|im_start|>user\nWhat does {name} do, and how is it used?<|im_end|>\n<|im_start|>assistant\n"
    text = f"What does {name} do, and how is it used?\n{target}"
    return Sample(content_id(context, target), context, target, text, source)
