"""The guide for users' own networks runs as it is written, and so does the example."""

import re
from pathlib import Path

import numpy as np
import pytest

import ppeconv
from tests.support.scripts import script

ROOT = Path(__file__).parents[2]


def blocks():
    text = (ROOT / "docs" / "your_model.md").read_text("utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.S)[1:]


@pytest.mark.parametrize("paddleclas", [False, True])
def test_guide(paddleclas, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if paddleclas:
        pytest.importorskip("paddleclas.ppcls", reason="paddleclas is not installed")
    names = {}
    for block in blocks():
        if paddleclas == ("paddleclas" in block) or block.startswith("import"):
            exec(block, names)
    assert "convolutions replaced" in capsys.readouterr().out


def test_segmentation_head_learns():
    example = script("examples/segmentation.py")
    backbone = ppeconv.create_model("ResNet20", operator="GhostConv", features=True)
    losses = example.train(example.Segmenter(backbone, 3, 8), 20, batch=2, side=32)
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
