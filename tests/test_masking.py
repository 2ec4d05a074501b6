"""Words are hidden by the rules, and guessing them is learnt."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs dongil[train]")

from bases import TITLES, tiny_base  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402

from embedder.errors import InputError  # noqa: E402
from training.backbone import load_encoder, load_tokenizer  # noqa: E402
from training.masking import Guesser, Hidden, guess_loss, hide, mask_id  # noqa: E402
from training.model import TitleModel  # noqa: E402
from training.train import TrainConfig, new_model  # noqa: E402
from training.vocabulary import learn_vocabulary  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = learn_vocabulary(TITLES, 60)  # few pieces, so that words have several
    made.no_padding()
    return made


@given(
    st.lists(st.sampled_from(["농심", "라면", "Sony", "헤드폰", "120g", "x"]), max_size=9), st.floats(0, 1),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_the_right_share_of_pieces_is_hidden(words: list[str], share: float, whole: bool, seed: int) -> None:
    tokenizer = learn_vocabulary(TITLES, 60)
    tokenizer.no_padding()
    encoded, mask = tokenizer.encode(" ".join(words)), mask_id(tokenizer)
    hidden = hide(encoded, random.Random(seed), share, 60, mask, whole_words=whole)
    inner = len(encoded.ids) - 2
    assert hidden.truth == {place: encoded.ids[place] for place in hidden.truth}
    assert all(0 < place <= inner for place in hidden.truth), "special pieces stay"
    for place, (now, then) in enumerate(zip(hidden.ids, encoded.ids, strict=True)):
        assert now == then or place in hidden.truth
    wanted = max(1, round(share * inner)) if inner else 0
    if not whole:
        assert len(hidden.truth) == wanted
        return
    groups = [[p for p, w in enumerate(encoded.word_ids) if w == word] for word in {*encoded.word_ids} - {None}]
    assert all(
        len(hidden.truth.keys() & set(own)) in (0, len(own)) for own in groups if encoded.word_ids[own[0]] is not None
    )
    assert wanted <= len(hidden.truth) < wanted + max(map(len, groups), default=1)


def test_most_hidden_pieces_are_masked_and_some_are_others_or_left(tokenizer: Tokenizer) -> None:
    encoded, rng, mask = tokenizer.encode(TITLES[0]), random.Random(0), mask_id(tokenizer)
    fates = {"mask": 0, "same": 0, "other": 0}
    for _ in range(2000):
        hidden = hide(encoded, rng, 0.0, 60, mask, whole_words=False)
        ((place, truth),) = hidden.truth.items()
        now = hidden.ids[place]
        fates["mask" if now == mask else "same" if now == truth else "other"] += 1
    assert fates["mask"] / 2000 == pytest.approx(0.8, abs=0.03)
    assert fates["same"] / 2000 == pytest.approx(0.1, abs=0.03)


def test_a_tokenizer_without_a_mask_is_told() -> None:
    with pytest.raises(InputError, match=r"no \[MASK\] or <mask>"):
        mask_id(Tokenizer(models.BPE()))


def test_the_loss_is_the_mean_over_hidden_pieces(tokenizer: Tokenizer) -> None:
    config = TrainConfig(hidden=16, layers=1, heads=2, intermediate=32, max_length=24)
    model = new_model(config, tokenizer.get_vocab_size()).eval()
    guesser, mask = Guesser(model), mask_id(tokenizer)
    titles = [
        hide(e, random.Random(n), 0.4, 60, mask, whole_words=False)
        for n, e in enumerate(tokenizer.encode_batch(TITLES))
    ]
    losses = []
    for title in titles:
        states = model.bert(
            input_ids=torch.tensor([title.ids]), attention_mask=torch.ones(1, len(title.ids), dtype=torch.long)
        ).last_hidden_state[0]
        scores = guesser(states, model.bert.get_input_embeddings().weight).log_softmax(1)
        losses += [-float(scores[place, piece].detach()) for place, piece in title.truth.items()]
    assert guess_loss(model, guesser, titles, 0).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert guess_loss(model, guesser, [Hidden([2, 3], {})], 0).item() == 0


@pytest.mark.parametrize("kind", ["bert", "albert", "roberta"])
def test_any_base_learns_to_guess(tmp_path: Path, kind: str) -> None:
    base = str(tiny_base(tmp_path / "base", kind))
    tokenizer = load_tokenizer(base, 24, "mean")
    tokenizer.no_padding()
    torch.manual_seed(0)
    model = TitleModel(load_encoder(base, 24))
    guesser, mask, pieces = Guesser(model), mask_id(tokenizer), model.bert.config.vocab_size
    optimizer = torch.optim.Adam([*model.parameters(), *guesser.parameters()], lr=3e-3)
    losses = []
    for step in range(40):
        rng = random.Random(step)
        titles = [hide(e, rng, 0.15, pieces, mask, whole_words=True) for e in tokenizer.encode_batch(TITLES[:40])]
        loss = guess_loss(model, guesser, titles, 0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.8 * math.log(pieces)
    assert sum(losses[-5:]) / 5 < 0.75 * losses[0]
