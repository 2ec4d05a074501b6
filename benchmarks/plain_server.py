"""A plain embedding server: sentence-transformers behind FastAPI in the few lines that its users write.

What ``benchmarks.serving`` compares with, on the same weights: no batching across requests, FastAPI's own threads. It
runs in a process of its own, perhaps of another interpreter. It does not know what titles are.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Texts(BaseModel):
    """Texts to embed."""

    input: list[str]


def create(folder: str) -> FastAPI:
    """The app; the model is loaded before it answers."""
    model = import_module("sentence_transformers").SentenceTransformer(folder, device="cpu")
    app = FastAPI()

    @app.post("/embeddings")
    def embeddings(texts: Texts) -> dict[str, Any]:
        vectors = model.encode(texts.input, normalize_embeddings=True, show_progress_bar=False)
        return {"data": [{"embedding": vector} for vector in vectors.tolist()]}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    """Serve the model of a folder on a port of the loopback."""
    uvicorn.run(create(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()
