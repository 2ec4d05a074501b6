"""Tasks: what one step of a stage learns from, and what a checkpoint must keep of it.

A task takes its batch, works out a loss and leaves the gradients; the loop steps the optimizers. It knows batches and
losses; it does not know checkpoints' files, schedules or validation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from pytorch_metric_learning.losses import SupConLoss
from tokenizers import Tokenizer

from training.config import TrainConfig
from training.gradcache import CachedVectors
from training.losses import SecondLoss, wants_cache
from training.masking import Guesser, guess_loss, hide, mask_id
from training.mining import nearest_products
from training.model import TitleModel, embed
from training.sampling import Batch, Sampler
from training.team import Team

if TYPE_CHECKING:
    from training.distill import Guide


@dataclass(frozen=True)
class Learner:
    """What every task works on."""

    model: TitleModel
    tokenizer: Tokenizer
    config: TrainConfig
    bfloat16: bool
    team: Team = field(default_factory=Team)


class Task(Protocol):
    """One stage's work. ``groups`` are those of the loop's optimizer, each with the ``rate`` at its height."""

    groups: list[dict[str, Any]]
    optimizers: list[torch.optim.Optimizer]

    def follow(self, state: dict[str, Any]) -> None:
        """Stand where a run that was never stopped stands after ``state["step"]`` steps; see ``state_dict``."""

    def learn(self, step: int) -> tuple[torch.Tensor, int]:
        """Leave the gradients of one step's loss; returns the loss and how many titles it was of."""

    def state_dict(self) -> dict[str, Any]:
        """What ``follow`` needs besides the step."""


class WordTask:
    """Guess hidden words of all titles, of known product or not."""

    def __init__(self, learner: Learner, titles: list[str]) -> None:
        self.learner, self.titles = learner, titles
        self.guesser = Guesser(learner.model).to(learner.model.device)
        rate = learner.config.learning_rate
        self.groups = [
            {"params": learner.model.parameters(), "rate": rate}, {"params": self.guesser.parameters(), "rate": rate},
        ]  # fmt: skip
        self.optimizers: list[torch.optim.Optimizer] = []
        self.mask = mask_id(learner.tokenizer)
        self.plain = Tokenizer.from_str(learner.tokenizer.to_str())
        self.padding = int((self.plain.padding or {}).get("pad_id", 0))
        self.plain.no_padding()

    def follow(self, state: dict[str, Any]) -> None:
        """See ``Task``: what is drawn hangs on the step alone."""
        self.guesser.load_state_dict(state["guesser"])

    def learn(self, step: int) -> tuple[torch.Tensor, int]:
        """See ``Task``."""
        config, model = self.learner.config, self.learner.model
        rng = random.Random(f"{config.seed}:words:{step}")
        drawn = rng.sample(self.titles, min(2 * config.products_per_batch, len(self.titles)))
        pieces = int(model.bert.config.vocab_size)
        hidden = [
            hide(title, rng, config.mlm_share, pieces, self.mask, whole_words=config.mlm_whole_words)
            for title in self.plain.encode_batch(drawn)
        ]
        team = self.learner.team
        own = team.share(hidden)
        part = sum(len(title.truth) for title in own) / max(1, sum(len(title.truth) for title in hidden))
        loss = part * guess_loss(model, self.guesser, own, self.padding, bfloat16=self.learner.bfloat16)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        team.add_gradients([*model.parameters(), *self.guesser.parameters()])
        return team.total(loss), len(drawn)

    def state_dict(self) -> dict[str, Any]:
        """See ``Task``."""
        return {"guesser": self.guesser.state_dict()}


class VectorTask:
    """Bring the titles of a product together and keep others away: the contrast, and behind it the second loss.

    Args:
        learner: see there.
        steps: of the stage; the margin has grown after half of them.
        sampler: draws the products of ``batches``.
        batches: endless.
        second: the loss of the second stage; None for the first.
        guide: what teachers say of the batches' titles; None without teachers.
    """

    def __init__(
        self,
        learner: Learner,
        steps: int,
        sampler: Sampler,
        batches: Iterator[Batch],
        second: SecondLoss | None = None,
        guide: Guide | None = None,
    ) -> None:
        config = learner.config
        self.learner, self.steps, self.sampler, self.batches = learner, steps, sampler, batches
        self.second, self.guide = second, guide
        self.contrast = SupConLoss(temperature=config.temperature)
        self.cached = second is not None and wants_cache(config)
        rate = config.learning_rate if second is None else config.arcface_learning_rate
        self.groups: list[dict[str, Any]] = [{"params": learner.model.parameters(), "rate": rate}]
        self.optimizers: list[torch.optim.Optimizer] = []
        margin = second.margin if second else None
        if margin:
            self.optimizers += margin.optimizers
        if margin and margin.parameters:
            rate = config.centre_learning_rate
            self.groups.append({"params": margin.parameters, "rate": rate, "weight_decay": 0.0})
        if guide and (learnt := list(guide.parameters())):
            self.groups.append({"params": learnt, "rate": config.learning_rate})

    def follow(self, state: dict[str, Any]) -> None:
        """See ``Task``."""
        skip = int(state["step"])
        if self.second and self.second.margin:
            self.second.margin.load_state_dict(state["arcface"])
        if (mined := state.get("mined")) is not None:
            turn, skip = divmod(skip, self.learner.config.mine_every)
            self.sampler.restart(turn, mined.numpy())
        for _ in range(skip):
            next(self.batches)  # the same titles follow as in a run that was never stopped

    def learn(self, step: int) -> tuple[torch.Tensor, int]:
        """See ``Task``."""
        learner, config = self.learner, self.learner.config
        # The first stage begins with a model that knows nothing, and whose neighbours teach nothing.
        if config.mine_every and step % config.mine_every == 0 and (step or self.second):
            k = config.neighbours_per_draw - 1
            mined = nearest_products(learner.model, learner.tokenizer, self.sampler.products, k)
            self.sampler.restart(step // config.mine_every, mined)
        batch, team = next(self.batches), learner.team
        ramp = min(1.0, 2 * step / self.steps)
        if self.cached:
            cache = CachedVectors(learner.model, learner.tokenizer, batch.titles, bfloat16=learner.bfloat16, team=team)
            loss = self._loss(cache.vectors, batch, step, ramp)
            cache.backward(loss)
        else:
            vectors = embed(learner.model, learner.tokenizer, batch.titles, bfloat16=learner.bfloat16, team=team)
            loss = self._loss(vectors, batch, step, ramp)
            loss.backward()  # type: ignore[no-untyped-call]
        team.add_gradients(learner.model.bert.parameters())  # whatever comes after it, everybody has learnt whole
        return loss.detach(), len(batch.titles)

    def _loss(self, vectors: torch.Tensor, batch: Batch, step: int, ramp: float) -> torch.Tensor:
        labels = torch.tensor(batch.labels, device=vectors.device)
        loss: torch.Tensor = self.second(vectors, labels, step, ramp) if self.second else self.contrast(vectors, labels)
        return loss + self.guide(vectors, batch.rows) if self.guide else loss

    def state_dict(self) -> dict[str, Any]:
        """See ``Task``."""
        margin = self.second.margin if self.second else None
        mined = self.sampler.mined
        return {
            "arcface": margin.state_dict() if margin else {},
            "mined": None if mined is None else torch.from_numpy(mined),
        }
