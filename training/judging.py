"""Judging an encoder by labelled sets: quickly while it learns, and by a decision chosen for it when it has learnt.

It knows held-out rows and how titles become vectors. It does not know how an encoder is trained, packed or served.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedder.bundle import BACKGROUND, PROBABILITY
from embedder.errors import InputError
from index.vectors import VectorIndex
from training.decide import Choice, choose_decision, scores_at
from training.evaluate import row_curve
from training.examples import Pool
from training.labels import Labelled
from training.pools import Background, Encode, pool_of, remembering, variants_of

if TYPE_CHECKING:
    from training.recipe import Recipe

_ENOUGH_ROWS = 150  # validation rows; a smaller set is not asked when a larger one can be
_FEWEST_ROWS = 20
QUICK_POOL = 5_000  # rows of the pool in which rows are judged while training, at most


def judged_sets(sets: Sequence[Labelled]) -> list[Labelled]:
    """The sets whose validation rows choose model and decision."""
    for enough in (_ENOUGH_ROWS, _FEWEST_ROWS):
        if judged := [s for s in sets if s.splits.count("validation") >= enough and s.splits.count("test")]:
            return judged
    raise InputError(
        f"no file has {_FEWEST_ROWS} validation rows and a test part (10 % and 20 % of the products) to choose and "
        "prove a threshold by; expected more labelled rows"
    )


def quick_pool(labelled: Labelled) -> tuple[list[str], list[str], npt.NDArray[np.int64]]:
    """Validation rows among training rows, a pool that is quick to encode: titles, their products, the judged rows."""
    judged, others = labelled.part("validation"), labelled.part("train")
    keep = np.random.default_rng(0).permutation(len(others[0]))[: max(0, QUICK_POOL - len(judged[0]))].tolist()
    titles, labels = judged[0][:QUICK_POOL], judged[1][:QUICK_POOL]
    rows = np.arange(len(titles))
    return titles + [others[0][row] for row in keep], labels + [others[1][row] for row in keep], rows


def validation_f1(labelled: Labelled, encode: Encode) -> float:
    """Best row-F1 of a set's validation rows over all thresholds, by plain cosine."""
    titles, labels, rows = quick_pool(labelled)
    vectors = encode(titles)
    found = VectorIndex.from_vectors(vectors, exact=True).search(vectors[rows], 20)
    curve = row_curve(found, labels, rows)
    return round(float(curve.f1[curve.best]), 4)


def mean_f1(recipe: Recipe, judged: Sequence[Labelled], encode: Encode) -> float:
    """Weighted mean over sets of what plain cosines of an encoder are worth while models are compared."""
    scores = [validation_f1(s, encode) for s in judged]
    return float(np.average(scores, weights=[recipe.weights.get(s.name, 1.0) for s in judged]))


def decide(
    recipe: Recipe,
    judged: Sequence[Labelled],
    encode: Encode,
    common: Background,
    others: Iterable[tuple[Sequence[Labelled], Encode]] = (),
) -> Choice:
    """The decision for an encoder, from the validation rows of its sets.

    Args:
        recipe: the weights of its sets, and how far to blend.
        judged: the sets.
        encode: the encoder.
        common: see ``background_of``.
        others: encoders that did not learn from the test part of these sets, which the probability is learnt from
            besides.
    """

    def grouped(labelled: Labelled, split: str, encode: Encode) -> list[Pool]:
        options: Any = {"weight": recipe.weights.get(labelled.name, 1.0), "common": common}
        full = pool_of(labelled, split, encode, recipe.blend, **options)
        return [full, *variants_of(labelled, split, encode, recipe.blend, **options)]

    encode = remembering(encode)
    own = [grouped(one, "validation", encode) for one in judged]
    more = (
        grouped(one, "test", remembered)
        for sets, other in others
        for remembered in [remembering(other)]
        for one in sets
    )
    return choose_decision([full for full, *_ in own], [v for _, *some in own for v in some], recipe.blend, others=more)


def deciding_files(choice: Choice, common: Background) -> dict[str, bytes]:
    """What stands in a bundle beside ``decision.json``."""
    table = io.BytesIO()
    np.save(table, common, allow_pickle=False)
    files = {BACKGROUND: table.getvalue()}
    return files | ({PROBABILITY: choice.trees} if choice.trees else {})


def measure(choice: Choice, judged: Sequence[Labelled], encode: Encode, common: Background) -> dict[str, Any]:
    """Test rows, at the decision chosen on validation rows: measured once, for the card."""
    blend = choice.decision.blend
    pools = [pool_of(s, "test", encode, blend, common=common) for s in judged]
    return {pool.name: scores_at(choice.decision, pool) for pool in pools}
