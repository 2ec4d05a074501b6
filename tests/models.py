"""Bundles that tests switch between: the one that ships, with another decision or with other vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embedder.bundle import BACKGROUND, PROBABILITY, Bundle, copy_bundle, write_bundle


def other_decision(bundle: Bundle, folder: Path, threshold: float = 0.8) -> Bundle:
    """The same vectors, clustered at another threshold."""
    decision = bundle.read_json("decision.json") | {"cluster_threshold": threshold}
    return copy_bundle(bundle, folder, decision=decision, metrics={"note": "another decision"}, card="another decision")


def other_vectors(bundle: Bundle, folder: Path) -> Bundle:
    """A model of another fingerprint, which reads fewer tokens of a title."""
    config = replace(bundle.config, max_length=12, parent=bundle.fingerprint)
    return write_bundle(
        folder,
        config,
        model=bundle.model_path.read_bytes(),
        tokenizer=(bundle.folder / "tokenizer.json").read_text(encoding="utf-8"),
        decision=bundle.read_json("decision.json"),
        metrics={"note": "other vectors"},
        card="other vectors",
        more={name: (bundle.folder / name).read_bytes() for name in (PROBABILITY, BACKGROUND)},
    )
