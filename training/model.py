"""The model in training: a transformer, how its states become one vector a title, and titles in batches through it.

It knows tensors and a tokenizer. It does not know where an encoder comes from, what it learns, or how it is served.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn

from training.team import Team

CHUNK = 64  # titles a forward pass; each chunk is padded to its own longest, so short titles stay cheap


class TitleModel(nn.Module):
    """An encoder whose last hidden states become one vector of length 1 a title. Shape (batch, dimension).

    The states are pooled, then, if asked for, projected and batch-normalised: both are parts of the vector that is
    searched. ``bert`` is the name that checkpoints carry, whatever encoder stands there.

    Args:
        encoder: a transformers model that answers with ``last_hidden_state``.
        pooling: "mean" over the tokens of a title, or "cls", the state of its first.
        dimension: of the projection; 0 for none.
        batch_norm: whether the vector is batch-normalised before it is scaled to length 1.
    """

    def __init__(
        self, encoder: nn.Module, *, pooling: str = "mean", dimension: int = 0, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.bert: Any = encoder
        self.pooling = pooling
        self.hidden = int(cast(Any, encoder).config.hidden_size)
        self.dimension = dimension or self.hidden
        self.projection = nn.Linear(self.hidden, dimension) if dimension else None
        self.norm = nn.BatchNorm1d(self.dimension) if batch_norm else None

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def pool(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """One float32 row a title, shape (batch, hidden), before the head."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        if self.pooling == "cls":
            return cast(torch.Tensor, hidden[:, 0])
        mask = attention_mask.unsqueeze(-1).float()
        summed = (hidden * mask).sum(1)
        # Without a head the mean's factor falls out when the vector is scaled.
        plain = self.projection is None and self.norm is None
        return cast(torch.Tensor, summed if plain else summed / mask.sum(1))

    def finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """Unit rows from pooled rows. The statistics of the batch norm are those of all rows given."""
        if self.projection is not None:
            pooled = self.projection(pooled)
        if self.norm is not None:
            pooled = self.norm(pooled)
        return nn.functional.normalize(pooled, dim=-1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.finish(self.pool(input_ids, attention_mask))

    @torch.no_grad()
    def head(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What ``finish`` does before scaling, as one weight (dimension, hidden) and bias; None when that is nothing.

        The batch norm is folded in with the statistics it has gathered, as it works in ``eval``.
        """
        if self.projection is None and self.norm is None:
            return None
        weight, bias = torch.eye(self.dimension, device=self.device), torch.zeros(1, device=self.device)
        if self.projection is not None:
            weight, bias = self.projection.weight, self.projection.bias
        if self.norm is not None:
            mean, variance = cast(torch.Tensor, self.norm.running_mean), cast(torch.Tensor, self.norm.running_var)
            factor = self.norm.weight / torch.sqrt(variance + self.norm.eps)
            weight, bias = weight * factor[:, None], (bias - mean) * factor + self.norm.bias
        return weight.detach(), bias.detach()


def chunks(
    tokenizer: Tokenizer, titles: list[str], device: torch.device
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Titles by length in chunks, and how to put their rows back: ``rows[order]`` stand as the titles do.

    Returns:
        ``order``, int64, shape (n,), and the ids and mask of each chunk, both shape (chunk, tokens).
    """
    order = sorted(range(len(titles)), key=lambda i: len(titles[i]))
    made = []
    for start in range(0, len(order), CHUNK):
        encoded = tokenizer.encode_batch_fast([titles[i] for i in order[start : start + CHUNK]])
        ids = torch.tensor([e.ids for e in encoded], device=device)
        made.append((ids, torch.tensor([e.attention_mask for e in encoded], device=device)))
    return torch.tensor(order, device=device).argsort(), made


def embed(
    model: TitleModel, tokenizer: Tokenizer, titles: list[str], *, bfloat16: bool = False, team: Team | None = None
) -> torch.Tensor:
    """Vectors of cleaned titles in their order, shape (n, dimension), through length-sorted chunks; keeps gradients.

    In a team each process encodes its share, and all get the vectors of all; without one, this one encodes everything.
    """
    team = team or Team()
    order, made = chunks(tokenizer, titles, model.device)
    # An empty share has gradients too: everybody goes through the same steps.
    parts = [torch.empty((0, model.hidden), device=model.device, requires_grad=team.size > 1)]
    for ids, mask in team.share(made):
        # Each chunk by itself: what autocast keeps for longer would gather gradients in bfloat16.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
            parts.append(model.pool(ids, mask))
    pooled = team.gather(torch.cat(parts), [len(ids) for ids, _ in made])
    return model.finish(pooled[order])


@torch.no_grad()
def encode(model: TitleModel, tokenizer: Tokenizer, titles: list[str]) -> npt.NDArray[np.float32]:
    """Vectors without gradients, shape (n, dimension), float32."""
    model.eval()
    parts = [embed(model, tokenizer, titles[i : i + 4096]).cpu().numpy() for i in range(0, len(titles), 4096)]
    model.train()
    return np.concatenate(parts)
