"""The vocabulary reads a title alike however it is spaced, and keeps numbers apart from letters."""

from __future__ import annotations

from training.vocabulary import SPECIAL_TOKENS, learn_vocabulary

TITLES = ["햇반 스팸 김치 덮밥 210g", "햇반 김치 볶음밥 210g", "스팸 덮밥", "김치덮밥 500ml", "백산수 500ml"] * 20


def test_spacing_does_not_change_the_pieces() -> None:
    tokenizer = learn_vocabulary(TITLES, 300)
    spaced, glued = tokenizer.encode("햇반 스팸 210g"), tokenizer.encode("햇반스팸210g")
    assert spaced.tokens == glued.tokens == ["[CLS]", "햇반", "스팸", "210", "g", "[SEP]"]


def test_special_tokens_stand_first_and_case_is_folded() -> None:
    tokenizer = learn_vocabulary(TITLES, 300)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert tokenizer.encode("500ML").ids == tokenizer.encode("500ml").ids
    assert "[UNK]" in tokenizer.encode("ภาษา").tokens


def test_the_same_titles_give_the_same_vocabulary() -> None:
    assert learn_vocabulary(TITLES, 200).to_str() == learn_vocabulary(TITLES, 200).to_str()
