"""What training starts from: any encoder that transformers knows, its own tokenizer, and the checks that both fit.

A base is a name on the model hub or a folder. Its weights are read from safetensors, or as tensors alone, never as
code; code that a base brings is never run. Whatever would fail after hours is tried on one full-length title first.
It knows transformers' folders and tensors; it does not know labels, losses or ONNX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import huggingface_hub.errors
import huggingface_hub.utils.logging
import torch
import transformers.utils.logging
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from embedder.errors import InputError

SMALL = "small"  # the base that is no base: our own small BERT, from nothing
_INSTEAD = f"expected a folder that holds a model and its tokenizer, or --base {SMALL}"
_NAME = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?")  # of a model on the hub
_MOST_BYTES = 2**31 - 2**24  # a float32 graph in one file, less room for its nodes
_FEWEST_PIECES = 0.5  # of the rows that a model has; a tokenizer with fewer was made for another


def load_tokenizer(base: str, max_length: int, pooling: str) -> Tokenizer:
    """The tokenizer of a base, padding, and truncating to ``max_length``; the base's config is checked on the way.

    Raises:
        InputError: the base cannot be found or is no text encoder; its tokenizer has no fast form, fits another
            model, or cannot serve the pooling.
    """
    with _readable(base):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    _check_encoder(base, config)
    with _readable(base):
        made: Any = AutoTokenizer.from_pretrained(base, use_fast=True, trust_remote_code=False)
    if not getattr(made, "is_fast", False):
        raise InputError(f"the tokenizer of base {base!r} ({type(made).__name__}) has no fast form; {_INSTEAD}")
    tokenizer = Tokenizer.from_str(made.backend_tokenizer.to_str())
    pieces, rows, pad = 1 + max(tokenizer.get_vocab().values(), default=-1), int(config.vocab_size), made.pad_token_id
    if not _FEWEST_PIECES * rows <= pieces <= rows:
        raise InputError(
            f"the tokenizer of base {base!r} has {pieces:,} pieces, its model rows for {rows:,}; "
            "they are not of one model"
        )
    if pad is None or getattr(config, "pad_token_id", None) not in (None, pad):
        raise InputError(
            f"the tokenizer of base {base!r} pads with {pad}, its model with {getattr(config, 'pad_token_id', None)}; "
            "they are not of one model"
        )
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(pad_id=pad, pad_token=made.pad_token)
    if pooling == "cls" and not tokenizer.encode("a").special_tokens_mask[0]:
        raise InputError(f"pooling is cls, but base {base!r} begins a title with no special token; expected mean")
    return tokenizer


def load_encoder(base: str, max_length: int) -> nn.Module:
    """The pretrained encoder of a base, float32, on the CPU, in training mode.

    Raises:
        InputError: the base cannot be found, is no text encoder, lacks weights, is too large for a bundle or cannot
            read ``max_length`` tokens.
    """
    with _readable(base):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        _check_encoder(base, config)
        model, told = AutoModel.from_pretrained(
            base, config=config, trust_remote_code=False, weights_only=True, output_loading_info=True
        )
    if lacking := sorted(name for name in told["missing_keys"] if "pooler" not in name):
        raise InputError(
            f"base {base!r} has no weights for {len(lacking)} tensors of its {type(model).__name__}, such as "
            f"{lacking[0]}; expected the weights of that model"
        )
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # a layer behind the last hidden states, which a title's vector does not need
    size = 4 * sum(weight.numel() for weight in model.parameters())
    if size > _MOST_BYTES:
        raise InputError(
            f"base {base!r} takes {size / 2**30:.1f} GiB in float32; expected less than the 2 GiB of an ONNX file"
        )
    model.float()
    _check_length(base, model, max_length)
    return cast(nn.Module, model.train())


def _check_encoder(base: str, config: Any) -> None:
    kind = str(config.model_type)
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"base {base!r} is {kind}, which writes a text from a text; expected an encoder such as BERT")
    if kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or getattr(config, "is_decoder", False):
        raise InputError(f"base {base!r} is {kind}, which is no text encoder; expected one such as BERT")


@torch.no_grad()
def _check_length(base: str, model: Any, max_length: int) -> None:
    """Encode the longest title there can be, once."""
    ids = torch.full((1, max_length), int(model.config.vocab_size) - 1)
    model.eval()
    try:
        shape = tuple(model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape)
    except (IndexError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        positions = getattr(model.config, "max_position_embeddings", "?")
        raise InputError(
            f"base {base!r} cannot read titles of {max_length} tokens (it has {positions} positions): {_line(error)}; "
            "expected a smaller max_length, or another base"
        ) from error
    if shape != (1, max_length, model.config.hidden_size):
        raise InputError(f"base {base!r} answers with shape {shape}; expected one hidden state a token")


@contextmanager
def _readable(base: str) -> Iterator[None]:
    """Loading without transformers' chatter, whose failures are told in one line."""
    folder = bool(base) and Path(base).is_dir()
    if not folder and (Path(base).exists() or not _NAME.fullmatch(base)):
        raise InputError(f"base {base!r} is no folder and no name on the model hub; {_INSTEAD}")
    told, hub = cast(Any, transformers.utils.logging), cast(Any, huggingface_hub.utils.logging)
    before, bars = (told.get_verbosity(), hub.get_verbosity()), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    hub.set_verbosity_error()
    told.disable_progress_bar()
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever transformers raises of a base is a finding about it
        raise InputError(_told(base, error)) from error
    finally:
        told.set_verbosity(before[0])
        hub.set_verbosity(before[1])
        if bars:
            told.enable_progress_bar()


def _told(base: str, error: Exception) -> str:
    """Why a base cannot be loaded, in a sentence."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    known = huggingface_hub.errors
    unreachable = (known.LocalEntryNotFoundError, known.OfflineModeIsEnabled, ConnectionError, TimeoutError)
    refused = (known.RepositoryNotFoundError, known.GatedRepoError)
    if any(isinstance(cause, refused) for cause in causes):
        return f"base {base!r} is no folder here, and the model hub has none of this name to give; {_INSTEAD}"
    if any(isinstance(cause, unreachable) for cause in causes):
        return f"base {base!r} is no folder here, and the model hub cannot be reached; {_INSTEAD}"
    if "trust_remote_code" in str(error):
        return f"base {base!r} brings code of its own, which is never run; expected a model that transformers knows"
    return f"base {base!r} cannot be loaded: {_line(error)}; {_INSTEAD}"


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")
