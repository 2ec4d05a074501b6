"""Ensembles: several bundles that serve as one encoder, by the weighted concatenation of their unit vectors.

Each member's vector is multiplied by the root of its weight, so that the cosine of two titles is the weighted mean of
the members' cosines (Kaggle Shopee's winners found that each part must have length 1 before it is concatenated). It
knows bundles, vectors and weights; it does not know how good a weight is, nor how a model is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedder.bundle import FORMAT, Bundle, Member, ensemble_fingerprint, load_bundle, to_json
from embedder.errors import InputError
from embedder.folders import replacing_folder


def concatenated(vectors: Sequence[npt.NDArray[np.float32]], weights: Sequence[float]) -> npt.NDArray[np.float32]:
    """Members' vectors of the same titles as one.

    Args:
        vectors: of each member float32 rows of length 1, or of zeros for titles that it cannot read; all of n rows.
        weights: of each member, all over 0; they need not sum to 1.

    Returns:
        float32, shape (n, sum of the dimensions). A row has length 1, whoever of the members can read the title, and
        is all zeros where none can.
    """
    together = np.concatenate(
        [rows * np.float32(np.sqrt(weight)) for rows, weight in zip(vectors, weights, strict=True)], axis=1
    )
    together /= np.maximum(np.linalg.norm(together, axis=1, keepdims=True), np.float32(1e-12))
    return together


def members_of(bundles: Sequence[Bundle], weights: Sequence[float]) -> tuple[Member, ...]:
    """Bundles that can serve as one, each with its share.

    Args:
        bundles: two or more different models.
        weights: of each, over 0; they are scaled to sum to 1.

    Raises:
        InputError: fewer than two bundles, one twice, an ensemble among them, models that clean titles differently, or
            weights that do not fit.
    """
    if len(bundles) < 2:
        raise InputError(f"{len(bundles)} model; expected two or more")
    first = bundles[0]
    for place, bundle in enumerate(bundles):
        file = str(bundle.folder)
        if bundle.members:
            raise InputError("an ensemble already; expected the models that it was made of", file=file)
        if bundle.fingerprint in {other.fingerprint for other in bundles[:place]}:
            raise InputError(f"the same model twice ({bundle.fingerprint}); expected different ones", file=file)
        if bundle.config.cleaning != first.config.cleaning:
            raise InputError(
                f"cleans titles by version {bundle.config.cleaning}, {first.folder} by {first.config.cleaning}; "
                "expected models that clean alike",
                file=file,
            )
    if len(weights) != len(bundles):
        raise InputError(f"{len(weights)} weights for {len(bundles)} models; expected as many")
    if wrong := [weight for weight in weights if not 0 < weight < np.inf]:
        raise InputError(f"weight {wrong[0]:g}; expected a number over 0")
    total = sum(weights)
    return tuple(Member(bundle, weight / total) for bundle, weight in zip(bundles, weights, strict=True))


def write_ensemble(
    folder: str | Path,
    members: Sequence[Member],
    *,
    decision: Mapping[str, Any],
    metrics: Mapping[str, Any],
    card: str,
    more: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write an ensemble, its members copied into folders of it: whole or not at all.

    Args:
        folder: where it is to stand; a bundle that stood there is replaced.
        members: from ``members_of``.
        decision, metrics, card: of the ensemble.
        more: files that a bundle may hold besides, by name.

    Raises:
        InputError: ``folder`` is something else than a bundle or cannot be written; nothing is changed then.
    """
    folder, members, content = Path(folder), tuple(members), dict(more or {})
    names = [f"member-{number}" for number in range(1, len(members) + 1)]
    about = {
        "format": FORMAT,
        "fingerprint": ensemble_fingerprint(members),
        "members": [
            {"folder": name, "weight": member.weight, "fingerprint": member.bundle.fingerprint}
            for name, member in zip(names, members, strict=True)
        ],
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    }
    content |= {
        "decision.json": to_json(decision), "metrics.json": to_json(metrics),
        "README.md": card.encode(), "config.json": to_json(about),
    }  # fmt: skip
    with replacing_folder(folder, "config.json") as beside:
        for name, member in zip(names, members, strict=True):
            member.bundle.copy_to(beside / name)
        for file, data in content.items():
            (beside / file).write_bytes(data)
        load_bundle(beside)
    return load_bundle(folder)
