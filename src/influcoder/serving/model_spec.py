"""The registered MLflow model: what it is made of, what it takes and what it answers."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

_PACKAGE = Path(__file__).parents[1]
_MODEL = Path(__file__).with_name("pyfunc_model.py")
_NEEDS = ("mlflow", "scikit-learn", "scipy", "sentence-transformers", "torch")
_INDEX_NEEDS = ("boto3", "faiss-cpu", "pandas", "pyarrow", "pydantic-settings", "rich", "safetensors", "transformers")


def model_spec(model: str, encoder: Path, index: Path | None = None) -> dict[str, Any]:
    """Arguments of `mlflow.pyfunc.log_model`.

    Args:
        model: name of the registered encoder, of whose champion the registry says whether scores may be trusted.
        encoder: a sentence-transformers directory.
        index: a `Folder` that holds an index of the same encoder, for a model that attributes too.
    """
    names = sorted({*_NEEDS, *(_INDEX_NEEDS if index else ())})
    return {
        "python_model": str(_MODEL),
        "model_config": {"encoder": model},
        "artifacts": {"encoder": str(encoder), **({"index": str(index)} if index else {})},
        # Attribution runs by this package, which no package index has; it travels with the model.
        "code_paths": [str(_PACKAGE)] if index else None,
        "signature": _signature(),
        "input_example": pd.DataFrame({"target": ["A singular value decomposition."], "context": ["What is SVD?"]}),
        "pip_requirements": [f"{name}=={version(name).split('+')[0]}" for name in names],
    }


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    sample = Object(
        [
            *(Property(name, DataType.string) for name in ("end", "source", "id", "text")),
            *(Property(name, DataType.double) for name in ("score", "percentile")),
            Property("rank", DataType.long),
        ]
    )
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec("string", "target"),
                *(ColSpec("string", name, required=False) for name in ("context", "candidate", "candidate_context")),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(Array("double"), "vector", required=False),
                ColSpec("double", "score", required=False),
                ColSpec("string", "warning", required=False),
                ColSpec(Array(sample), "samples", required=False),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("method", DataType.string, "embed"),
                ParamSpec("k", DataType.long, 10),
                ParamSpec("least", DataType.long, 0),
            ]
        ),
    )
