"""Settings of a run come from text or a file, and what is wrong with them is named with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs dongil[train]")

from embedder.errors import InputError
from index.blending import BlendConfig
from training.config import TrainConfig, default_config
from training.settings import DEFAULT_BASE, parse_config, read_settings, write_settings, write_whole


def test_text_is_read_as_ever() -> None:
    assert read_settings("seed=2", "small") == (parse_config("seed=2"), BlendConfig())
    assert read_settings("")[0] == default_config(DEFAULT_BASE)


@pytest.mark.parametrize("base", ["small", "klue/bert-base"])
def test_what_is_written_is_read(tmp_path: Path, base: str) -> None:
    config = replace(default_config(base), learning_rate=3e-4, pooling="cls", batch_norm=True, products_per_batch=48)
    blend = BlendConfig(stages=2, threshold=0.8, min2_threshold=0.5)
    path = tmp_path / "c.json"
    write_settings(path, config, blend, "from a test")
    assert read_settings(str(path)) == read_settings(str(path), base) == (config, blend)
    value = json.loads(path.read_text(encoding="utf-8"))
    assert set(value) == {"about", "base", "learning_rate", "pooling", "batch_norm", "products_per_batch", "blend"}
    assert [one.name for one in tmp_path.iterdir()] == ["c.json"]


def test_a_file_need_not_say_everything(tmp_path: Path) -> None:
    path = tmp_path / "c.JSON"
    path.write_text('{"learning_rate": 1, "blend": {"stages": 3, "min2_threshold": null}}', encoding="utf-8")
    config, blend = read_settings(str(path), "small")
    assert config == replace(TrainConfig(), learning_rate=1.0)
    assert blend == BlendConfig(stages=3)
    assert read_settings(str(path))[0].base == DEFAULT_BASE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"seed": }', r"c\.json, line 2: not JSON"),
        ("[1]", "holds a list; expected a JSON object"),
        ('{"depth": 3}', r"c\.json: no setting 'depth'; expected one of hidden"),
        ('{"layers": "3"}', "setting layers is '3'; expected int"),
        ('{"layers": true}', "setting layers is True; expected int"),
        ('{"layers": 2.5}', "setting layers is 2.5; expected int"),
        ('{"batch_norm": 1}', "setting batch_norm is 1; expected bool"),
        ('{"learning_rate": NaN}', "setting learning_rate is nan; expected float"),
        ('{"pooling": "max"}', "setting pooling is 'max'; expected mean, cls"),
        ('{"base": 3}', "base is 3; expected a name or a folder"),
        ('{"base": "a/b"}', "for base 'a/b', but --base is 'small'"),
        ('{"blend": 3}', "blend is 3; expected an object with stages"),
        ('{"blend": {"depth": 3}}', "no blend setting 'depth'"),
        ('{"blend": {"stages": 1.5}}', "setting blend stages is 1.5; expected int"),
        ('{"blend": {"threshold": 3}}', "blending threshold is 3"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_settings(str(path), "small")
    assert caught.value.file == str(path)


def test_the_shape_is_of_the_small_base_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"base": "a/b", "layers": 3}', encoding="utf-8")
    with pytest.raises(InputError, match="setting layers is of --base small; a/b brings its own"):
        read_settings(str(path))


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.json: cannot be read: No such file"):
        read_settings(str(tmp_path / "no.json"))
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_whole(tmp_path / "no" / "x.png", b"")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_settings(str(tmp_path / "bytes.json"))
