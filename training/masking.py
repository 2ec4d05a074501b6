"""Guessing hidden words: what titles teach a model before any label does.

Some pieces of a title are hidden, and the model says which they were (Devlin et al. 2019); with whole words, all pieces
of a word are hidden together (Cui et al. 2021). It knows titles, pieces and states; it does not know products.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from tokenizers import Encoding, Tokenizer
from torch import nn

from embedder.errors import InputError
from training.model import CHUNK, TitleModel

_HIDDEN, _REPLACED = 0.8, 0.1  # of the pieces to guess; the rest stay as they are
_NAMES = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class Hidden:
    """A title with some pieces hidden: the ids the model sees, and which piece stood at which place."""

    ids: list[int]
    truth: dict[int, int]


class Guesser(nn.Module):
    """From states to pieces, by the model's own table of pieces; it is thrown away afterwards."""

    def __init__(self, model: TitleModel) -> None:
        super().__init__()
        pieces, width = _table(model).shape
        self.transform = nn.Linear(int(model.bert.config.hidden_size), width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(pieces))

    def forward(self, states: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n, pieces), of states of shape (n, hidden)."""
        return cast(torch.Tensor, self.norm(nn.functional.gelu(self.transform(states))) @ table.T + self.bias)


def mask_id(tokenizer: Tokenizer) -> int:
    """The piece that stands for a hidden one.

    Raises:
        InputError: the tokenizer has none.
    """
    known = (tokenizer.token_to_id(name) for name in _NAMES)
    if (id := next((id for id in known if id is not None), None)) is None:
        raise InputError(
            f"the tokenizer has no {' or '.join(_NAMES)} to hide words behind; expected one, or mlm_steps=0"
        )
    return id


def hide(encoded: Encoding, rng: random.Random, share: float, pieces: int, mask: int, *, whole_words: bool) -> Hidden:
    """Hide a share of a title's pieces, at least one where it has any.

    Args:
        encoded: the title.
        rng: the source of every choice.
        share: of the pieces.
        pieces: that there are to be put in place of a hidden one.
        mask: see ``mask_id``.
        whole_words: whether the pieces of a word go together; the share is then exceeded by a word at most.
    """
    words: dict[int, list[int]] = {}
    for place, (word, special) in enumerate(zip(encoded.word_ids, encoded.special_tokens_mask, strict=True)):
        if word is not None and not special:
            words.setdefault(word if whole_words else place, []).append(place)
    wanted, taken = max(1, round(share * sum(map(len, words.values())))), list[int]()
    for word in rng.sample(sorted(words), len(words)):
        if len(taken) >= wanted:
            break
        taken += words[word]
    ids, truth = list(encoded.ids), {}
    for place in sorted(taken):
        truth[place] = ids[place]
        fate = rng.random()
        if fate < _HIDDEN:
            ids[place] = mask
        elif fate < _HIDDEN + _REPLACED:
            ids[place] = rng.randrange(pieces)
    return Hidden(ids, truth)


def guess_loss(
    model: TitleModel, guesser: Guesser, titles: Sequence[Hidden], padding: int, *, bfloat16: bool = False
) -> torch.Tensor:
    """The mean loss of guessing hidden pieces, in nats a piece; titles as ``hide`` made them, without padding."""
    device, total, count = model.device, torch.zeros((), device=model.device), 0
    ordered = sorted(titles, key=lambda title: len(title.ids))
    for start in range(0, len(ordered), CHUNK):
        part = ordered[start : start + CHUNK]
        longest = len(part[-1].ids)
        ids = torch.tensor([title.ids + [padding] * (longest - len(title.ids)) for title in part], device=device)
        mask = torch.tensor([[1] * len(t.ids) + [0] * (longest - len(t.ids)) for t in part], device=device)
        places = torch.tensor([row * longest + place for row, t in enumerate(part) for place in t.truth], device=device)
        truth = torch.tensor([piece for t in part for piece in t.truth.values()], device=device)
        if not len(truth):
            continue
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            states = model.bert(input_ids=ids, attention_mask=mask).last_hidden_state.flatten(0, 1)[places]
            logits = guesser(states, _table(model))
        total = total + nn.functional.cross_entropy(logits.float(), truth, reduction="sum")
        count += len(truth)
    return total / max(1, count)


def _table(model: TitleModel) -> torch.Tensor:
    """The vectors of the pieces, shape (pieces, width)."""
    return cast(torch.Tensor, cast(Any, model.bert).get_input_embeddings().weight)
