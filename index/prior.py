"""The prior of a catalogue: how many of its listings have a partner at all, and what that says of its doubtful pairs.

Probabilities are learnt from catalogues of which about half the listings stand alone. Where nearly all do, a doubtful
pair is two products more often than its evidence says; where none does, less often. How many do is told by the
probabilities themselves, so no label is needed. Bayes' rule for another prior (Saerens, Latinne and Decaestecker 2002)
would shift all logits by as much as the odds have moved; half of it is best on held-out products, because a catalogue's
own probabilities are drawn towards the middle unevenly, and more than one logit pays little.

It knows nodes and judged pairs of one whole catalogue, where rows are judged among themselves. A title that comes from
elsewhere is not bound by it: a catalogue of one listing a product may be asked for by sellers who have them all.
"""

from __future__ import annotations

import math

import numpy as np

from index.nodes import Nodes
from index.scene import JudgedPairs

USUAL = 0.44
"""Share of listings without a partner at which nothing is shifted."""
_SHARE, _MOST = 0.5, 1.0  # of the odds' move that is taken, and logits at most
_DIGITS = 1  # of a logit: a few listings more or less shift nothing
_ITEMS = 100  # as many listings of the usual kind are thought beside the catalogue's, that a handful says little
_NEVER = 1e-9


def share_alone(nodes: Nodes, pairs: JudgedPairs) -> float:
    """The share of a catalogue's readable listings that have no partner, as its pairs' probabilities have it.

    Pairs are taken to be right or wrong independently of each other. ``USUAL`` where nothing is readable.
    """
    counts = np.bincount(nodes.node_of, minlength=len(nodes.texts))
    ends = np.concatenate([pairs.edges.left, pairs.edges.right])
    scores = np.concatenate([pairs.edges.scores, pairs.edges.scores]).astype(np.float64)
    none = np.bincount(ends, np.log1p(-np.minimum(scores, 1 - _NEVER)), minlength=len(counts))
    none = none + np.where(counts > 1, np.log1p(-np.minimum(pairs.twins, 1 - _NEVER)), 0)
    weights = counts * nodes.readable
    total = int(weights.sum())
    return float((weights * np.exp(none)).sum() / total) if total else USUAL


def prior_shift(nodes: Nodes, pairs: JudgedPairs) -> float:
    """Logits by which a pair of this catalogue is more probable than its evidence alone has it, from -1 to 1."""
    items = int(nodes.readable[nodes.node_of].sum())
    alone = (share_alone(nodes, pairs) * items + USUAL * _ITEMS) / (items + _ITEMS)
    shift = _SHARE * (_logit(USUAL) - _logit(alone))
    return round(max(-_MOST, min(_MOST, shift)), _DIGITS)


def _logit(share: float) -> float:
    share = min(max(share, _NEVER), 1 - _NEVER)
    return math.log(share / (1 - share))
