"""The WordPiece vocabulary of a model that starts from nothing, learnt from titles.

Pieces carry no mark of where in a word they stand (no ``##``), so that ``햇반 스팸`` and ``햇반스팸`` read alike, and
digits stand apart from letters, so that ``500ml`` reads the same wherever it is glued on. It does not know models.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn_vocabulary(titles: Iterable[str], size: int) -> Tokenizer:
    """Learn a WordPiece tokenizer.

    Args:
        titles: cleaned titles.
        size: the most pieces to keep, special tokens included.

    Returns:
        A tokenizer that lower-cases, adds ``[CLS] ... [SEP]`` and pads with id 0.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=False)]
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        continuing_subword_prefix="",
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(titles, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer
