"""Loads a registered model where nothing can be imported but what the model says it needs, and asks it.

Example: python alone.py models:/encoder-answers@champion
"""

import json
import sys
from importlib.metadata import MetadataPathFinder, PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import mlflow
import pandas as pd
from packaging.requirements import Requirement


def main() -> None:
    uri = sys.argv[1]
    needs = mlflow.pyfunc.get_model_dependencies(uri)
    allowed = closure([Requirement(line) for line in Path(needs).read_text().splitlines()])
    sys.meta_path[:] = [Only(list(sys.meta_path), allowed)]
    model = mlflow.pyfunc.load_model(uri)
    rows = pd.DataFrame({"target": ["rocket moon comet"], "context": ["Tell a story: "]})
    found = model.predict(rows, params={"method": "attribute", "k": 3, "least": 2})
    import influcoder

    print(json.dumps({"samples": found["samples"][0], "package": influcoder.__file__}))


def closure(wanted):
    """Names of distributions that some requirements bring."""
    found, extras = set(), {requirement.name: set(requirement.extras) for requirement in wanted}
    left = list(extras)
    while left:
        name = left.pop()
        if name.lower() in found:
            continue
        found.add(name.lower())
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for line in map(Requirement, needed):
            given = extras.get(name, set()) or {""}
            if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in given):
                left.append(line.name)
    return {name.replace("_", "-") for name in found}


class Only:
    """Finds what other finders do, but nothing of distributions that are not allowed."""

    def __init__(self, finders, allowed):
        self._finders, self._allowed, self._known = finders, allowed, packages_distributions()

    def find_spec(self, name, path=None, target=None):
        owners = {owner.lower().replace("_", "-") for owner in self._known.get(name.split(".")[0], [])}
        if owners - {"influcoder"} and not owners & self._allowed:
            return None
        found = (finder.find_spec(name, path, target) for finder in self._finders)
        return next((spec for spec in found if spec is not None), None)

    def find_distributions(self, *context):
        found = MetadataPathFinder.find_distributions(*context)
        return (item for item in found if item.name.lower().replace("_", "-") in self._allowed)


if __name__ == "__main__":
    sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
    sys.path[:] = [
        entry for entry in sys.path if not (Path(entry) / "influcoder" / "serving" / "model_spec.py").is_file()
    ]
    main()
