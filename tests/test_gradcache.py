"""Two passes over a batch leave the gradients that one would have left."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

from bases import TITLES, tiny_base  # noqa: E402

from training.backbone import load_encoder, load_tokenizer  # noqa: E402
from training.gradcache import CachedVectors  # noqa: E402
from training.losses import ranking_loss  # noqa: E402
from training.model import CHUNK, TitleModel, embed  # noqa: E402


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("head", [{}, {"dimension": 8, "batch_norm": True}])
def test_gradients_are_those_of_one_pass(tmp_path: Path, head: dict[str, int], dropout: float) -> None:
    base = tiny_base(tmp_path / "base", hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    torch.manual_seed(0)
    model = TitleModel(load_encoder(str(base), 16), **head)  # type: ignore[arg-type]
    tokenizer = load_tokenizer(str(base), 16, "mean")
    titles = TITLES + TITLES[::-1]
    assert len(titles) > 2 * CHUNK
    labels = torch.tensor([n // 2 for n in range(len(titles))])
    gradients = []
    for cached in (False, True):
        torch.manual_seed(1)
        model.zero_grad()
        if cached:
            held = CachedVectors(model, tokenizer, titles)
            vectors = held.vectors
            held.backward(ranking_loss(vectors, labels, 0.1))
        else:
            vectors = embed(model, tokenizer, titles)
            ranking_loss(vectors, labels, 0.1).backward()  # type: ignore[no-untyped-call]
        after = torch.rand(1)
        gradients.append((vectors.detach(), after, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (plain, drawn, expected), (again, drawn_too, found) = gradients
    torch.testing.assert_close(plain, again)
    assert drawn == drawn_too, "what is drawn afterwards is the same"
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
