"""Large batches in little memory: vectors first, then their gradients carried back chunk by chunk.

A contrast wants many titles at once, a transformer's states of them do not fit at once. So titles are encoded without
gradients, the loss is taken to its gradients with respect to what was pooled, and each chunk is then encoded once more
to pass its share on (Gao et al. 2021, GradCache). It knows a model and chunks; it does not know losses.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from tokenizers import Tokenizer

from training.model import TitleModel, chunks
from training.team import Team


class CachedVectors:
    """Vectors of cleaned titles, whose gradients reach the model by ``backward`` only.

    Args:
        model: in training.
        tokenizer: the model's.
        titles: cleaned.
        bfloat16: whether to multiply in bfloat16.
        team: each process encodes its share of the chunks.

    Attributes:
        vectors: unit rows in the order of the titles, shape (n, dimension).
    """

    def __init__(
        self,
        model: TitleModel,
        tokenizer: Tokenizer,
        titles: list[str],
        *,
        bfloat16: bool = False,
        team: Team | None = None,
    ) -> None:
        team = team or Team()
        self._model, self._bfloat16 = model, bfloat16
        order, made = chunks(tokenizer, titles, model.device)
        self._chunks = team.share(made)
        self._draws: list[tuple[torch.Tensor, list[torch.Tensor]]] = []  # dropout must fall alike the second time
        parts = [torch.empty((0, model.hidden), device=model.device)]
        for ids, mask in self._chunks:
            self._draws.append((torch.get_rng_state(), torch.cuda.get_rng_state_all()))
            with torch.no_grad():
                parts.append(self._pool(ids, mask))
        self._pooled = torch.cat(parts).requires_grad_()
        pooled = team.gather(self._pooled, [len(ids) for ids, _ in made])
        # The head is small and may look at the whole batch, as a batch norm does; it is gone through once.
        self.vectors = model.finish(pooled[order])

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss of ``vectors`` to those of everything it hangs on."""
        cast(Any, loss).backward()
        gradients = torch.split(cast(torch.Tensor, self._pooled.grad), [len(ids) for ids, _ in self._chunks])
        for (ids, mask), (draws, on_gpu), gradient in zip(self._chunks, self._draws, gradients, strict=True):
            with torch.random.fork_rng():
                torch.set_rng_state(draws)
                torch.cuda.set_rng_state_all(on_gpu)
                pooled = self._pool(ids, mask)
            cast(Any, pooled).backward(gradient)

    def _pool(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self._bfloat16):
            return self._model.pool(ids, mask)
