"""Several processes that train together learn what one process learns."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from tokenizers import Tokenizer

from embedder.errors import InputError
from training.labels import gather_products, read_labelled
from training.team import Team
from training.train import STAGES, TrainConfig, Trainer, new_model
from training.vocabulary import learn_vocabulary

SAMPLE = ROOT / "api" / "sample" / "catalog.csv"
SHAPE = {
    "hidden": 32, "layers": 1, "heads": 2, "intermediate": 32, "vocabulary": 400, "products_per_batch": 60,
    "precision": "float32", "validate_every": 2, "dimension": 16, "batch_norm": True, "mlm_steps": 2,
    "contrast_steps": 2, "arcface_steps": 2,
}  # fmt: skip
LOSSES = ("arcface", "cached-ranking")
PROCESS = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from test_team import learn
from training.team import Team
team = Team.of_environment()
learn({folder!r}, team)
team.leave()
"""


def learn(folder: str, team: Team) -> None:
    """A short run on the sample, and what one step of each stage and loss leaves behind, in files of the folder."""
    torch.set_num_threads(1)
    products, where = gather_products([read_labelled(str(SAMPLE))]), Path(folder)

    def vocabulary() -> Tokenizer:
        where.mkdir(exist_ok=True)
        if team.leads:
            learn_vocabulary(products.titles, 400).save(str(where / "tokenizer.json"))
        return Tokenizer.from_file(str(where / "tokenizer.json"))

    tokenizer = team.after_first(vocabulary)
    learnt: dict[str, torch.Tensor] = {}
    for loss in LOSSES:
        config = TrainConfig(**SHAPE, loss=loss)  # type: ignore[arg-type]

        def trainer(config: TrainConfig = config, loss: str = loss) -> Trainer:
            run = Trainer(
                config, products, tokenizer, where / loss, lambda *_: {"score": float(len(run.history))},
                lambda *_: None, team=team,
            )  # fmt: skip
            return run

        trainer().run()
        for stage in STAGES:
            run = trainer()
            run.model, run.guide, run.best = new_model(config, tokenizer.get_vocab_size()), None, -math.inf
            task = run._task(stage, resumed=False)
            assert task
            learnt[f"{loss} {stage}"] = task.learn(0)[0]
            learnt |= {f"{loss} {stage} {n}": p.grad for n, p in run.model.named_parameters() if p.grad is not None}
    if team.leads:
        torch.save(learnt, where / "learnt.pt")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch knows no distributed training")
def test_three_processes_learn_what_one_learns(tmp_path: Path) -> None:
    learn(str(tmp_path / "alone"), Team())
    code = PROCESS.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path / "together"))
    (tmp_path / "process.py").write_text(code)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    ran = subprocess.run(
        [*launch, str(tmp_path / "process.py")], capture_output=True, text=True, cwd=ROOT, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-3000:]

    def read(file: str) -> list[dict[str, Any]]:
        folders = (tmp_path / "alone", tmp_path / "together")
        return [torch.load(folder / file, map_location="cpu", weights_only=True) for folder in folders]

    alone, together = read("learnt.pt")
    assert alone.keys() == together.keys()
    for name, expected in alone.items():
        assert torch.allclose(together[name], expected, rtol=1e-3, atol=1e-6), name
    for loss in LOSSES:
        alone, together = read(f"{loss}/checkpoint.pt")
        assert alone["history"] == together["history"]
        assert alone["best"] == together["best"] == 1.0


def test_parts_are_shared_and_come_back_in_order() -> None:
    parts = list(range(7))
    shares = [Team(rank, 3).share(parts) for rank in range(3)]
    assert sorted(part for share in shares for part in share) == parts
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_team_of_one_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = Team.of_environment()
    assert (team.leads, team.size, team.told(0.5)) == (True, 1, 0.5)
    rows = torch.ones(3, 2)
    assert team.gather(rows, [3]) is rows
    team.leave()


def test_what_a_launcher_told_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="RANK is 'first'; expected a number"):
        Team.of_environment()
