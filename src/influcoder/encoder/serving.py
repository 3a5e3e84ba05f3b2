"""The encoder as an MLflow model from code: this file alone is stored with the model, so it imports nothing of ours."""

from typing import Any

import mlflow
import numpy as np


class EncoderModel(mlflow.pyfunc.PythonModel):
    """Samples in, vectors out whose inner products estimate influence."""

    def load_context(self, context: Any) -> None:
        """Load the sentence-transformers directory that was logged beside this file, with the code that is in it."""
        from sentence_transformers import SentenceTransformer

        self.encoder = SentenceTransformer(context.artifacts["encoder"], trust_remote_code=True)

    # MLflow reads hints here as the model's schema, and the signature that was logged says it better.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Vectors, shape (rows, dimensions), of the columns `target`, and `context` and `states` where they are."""
        targets = model_input["target"].tolist()
        contexts = model_input["context"].fillna("").tolist() if "context" in model_input else [""] * len(targets)
        if type(self.encoder[0]).__name__ == "LexicalKernel":
            columns = [contexts, targets]
            if "states" in model_input:
                columns.append(model_input["states"].tolist())
            return np.asarray(self.encoder.encode(list(zip(*columns, strict=True)), show_progress_bar=False))
        texts = [f"{before}\n{target}".strip() for before, target in zip(contexts, targets, strict=True)]
        return np.asarray(self.encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False))


mlflow.models.set_model(EncoderModel())
