"""The encoder as an MLflow model from code: this file alone is stored with the model, so it imports nothing of ours."""

from typing import Any

import mlflow
import numpy as np


class EncoderModel(mlflow.pyfunc.PythonModel):
    """Texts in, unit vectors out."""

    def load_context(self, context: Any) -> None:
        """Load the sentence-transformers directory that was logged beside this file."""
        from sentence_transformers import SentenceTransformer

        self.encoder = SentenceTransformer(context.artifacts["encoder"], trust_remote_code=False)

    # MLflow reads hints here as the model's schema, and the signature that was logged says it better.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Unit vectors, shape (rows, dimensions), of the column `text`."""
        texts = model_input["text"].tolist()
        return np.asarray(self.encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False))


mlflow.models.set_model(EncoderModel())
