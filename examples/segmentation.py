"""A small segmentation head on the feature maps of a backbone whose operator is chosen by name.

    python examples/segmentation.py --backbone ResNet18 --operator GhostConv --steps 30

The images are drawn: rectangles and discs of random colours on a noisy background; the labels say for every pixel
which of the three it shows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv import UserError, count, create_model

CLASSES = ("background", "rectangle", "disc")


class Segmenter(nn.Layer):
    """[N, 3, H, W] -> [N, classes, H, W]: every map to a common width, added up from coarse to fine, then enlarged."""

    def __init__(self, backbone: nn.Layer, classes: int, width: int = 32):
        super().__init__()
        self.backbone = backbone
        self.lateral = nn.LayerList([nn.Conv2D(channels, width, 1) for channels in backbone.channels])
        self.smooth = nn.Sequential(nn.Conv2D(width, width, 3, padding=1), nn.BatchNorm2D(width), nn.ReLU())
        self.classify = nn.Conv2D(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.backbone(x)
        merged = self.lateral[-1](maps[-1])
        for index in range(len(maps) - 2, -1, -1):
            merged = self.lateral[index](maps[index]) + F.interpolate(merged, maps[index].shape[2:])
        return F.interpolate(self.classify(self.smooth(merged)), x.shape[2:], mode="bilinear")


def draw(batch: int, side: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Images [N, 3, side, side] and labels [N, side, side]."""
    images = random.normal(0, 0.3, [batch, 3, side, side]).astype("float32")
    labels = np.zeros([batch, side, side], "int64")
    rows, columns = np.mgrid[:side, :side]
    for image, label in zip(images, labels, strict=True):
        for kind in (1, 2):
            y, x = random.integers(side // 4, 3 * side // 4, 2)
            reach = random.integers(side // 10, side // 4)
            across, down = abs(columns - x), abs(rows - y)
            inside = np.maximum(across, down) < reach if kind == 1 else across**2 + down**2 < reach**2
            image[:, inside] += random.uniform(-1, 1, [3, 1])
            label[inside] = kind
    return paddle.to_tensor(images), paddle.to_tensor(labels)


def train(model: nn.Layer, steps: int, batch: int = 8, side: int = 64, seed: int = 0) -> list[float]:
    """Train on drawn images; returns the loss of every step."""
    random = np.random.default_rng(seed)
    optimizer = paddle.optimizer.AdamW(2e-3, parameters=model.parameters())
    losses = []
    for _ in range(steps):
        images, labels = draw(batch, side, random)
        loss = F.cross_entropy(model(images), labels.unsqueeze(1), axis=1)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return losses


def main() -> None:
    """Build, count, train, and say how many pixels are right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="ResNet18")
    parser.add_argument("--operator", default="SPConv", help="one of `python tools/list.py operators`")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    paddle.seed(0)
    try:
        backbone = create_model(options.backbone, operator=options.operator, features=True)
    except UserError as error:
        parser.error(str(error))
    model = Segmenter(backbone, len(CLASSES))
    counts = count(model, [1, 3, 64, 64])
    print(f"{options.backbone}, {options.operator}: {counts.params:,} parameters, {counts.macs:,} MACs at 64x64")
    losses = train(model, options.steps)
    print(f"loss {np.mean(losses[:5]):.3f} -> {np.mean(losses[-5:]):.3f}")
    model.eval()
    images, labels = draw(32, 64, np.random.default_rng(1))
    print(f"pixels that are right: {float((model(images).argmax(1) == labels).astype('float32').mean()):.1%}")


if __name__ == "__main__":
    main()
