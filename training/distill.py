"""Distillation: a small student learns from what large teachers make of the same titles, beside its own labels.

Two things are learnt of a title: where the teachers see it, through a linear map that is thrown away (cosine), and how
alike they find it to the other titles of the batch (relations: the Kullback-Leibler divergence of the rows of both
similarity matrices, as in Park et al. 2019 and Fang et al. 2021). A rewriting is held against the teachers' view of
the title it was made from, so that the student learns to see through what sellers do to it. Decoys have no such view.

It knows vectors and rows; it does not know bundles, labels or the loop.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from training.config import TrainConfig
from training.teachers import Teachers


class Guide(nn.Module):
    """The teachers' part of a loss. Its only weights are those of the linear map.

    Args:
        teachers: their vectors of ``Products.titles``.
        dimension: of the student.
        config: how much each part counts, and the temperature of the relations.
    """

    def __init__(self, teachers: Teachers, dimension: int, config: TrainConfig) -> None:
        super().__init__()
        self.teachers, self.config = teachers, config
        self.map = nn.Linear(dimension, teachers.dimension, bias=False) if config.distil_cosine else None

    def forward(self, vectors: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """The loss of a batch, 0 where the teachers can read none of it.

        Args:
            vectors: the student's unit rows, shape (n, dimension).
            rows: in ``Products.titles``; -1 for a title that stands for none of them.
        """
        known = np.flatnonzero(np.asarray(rows) >= 0)
        seen = self.teachers.of(np.asarray(rows, np.int64)[known])
        readable = seen.any(axis=1)
        at = torch.from_numpy(known[readable]).to(vectors.device)
        theirs, own = torch.from_numpy(seen[readable]).to(vectors.device), vectors[at]
        loss = vectors.sum() * 0
        if self.map is not None and len(at):
            apart = 1 - nn.functional.cosine_similarity(self.map(own), theirs)
            loss = loss + self.config.distil_cosine * apart.mean()
        if self.config.distil_relations and len(at) > 1:
            told = relations_loss(own, theirs, self.config.distil_temperature)
            loss = loss + self.config.distil_relations * told
        return loss


def relations_loss(own: torch.Tensor, theirs: torch.Tensor, temperature: float) -> torch.Tensor:
    """The mean divergence of the student's neighbourhoods from the teachers', in nats a title.

    A title's neighbourhood is the softmax over its cosines with the other titles of the batch.

    Args:
        own: the student's unit rows, shape (n, any dimension), n at least 2.
        theirs: the teachers', as many.
        temperature: that cosines are divided by.
    """
    others = ~torch.eye(len(own), dtype=torch.bool, device=own.device)
    student, teacher = (
        nn.functional.log_softmax((rows @ rows.T)[others].view(len(rows), -1) / temperature, dim=1)
        for rows in (own, theirs)
    )
    return nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
