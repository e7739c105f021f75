"""Training steps in PyTorch for bench_vs_torch.py, as a process that ppeconv.benchmark.turns.Contestant speaks with.

The networks are the project's, layer for layer; SPConv is the published module's forward pass.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional


def conv_bn(inputs, outputs, kernel, stride=1, groups=1, activation=None):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class SPConv(nn.Module):
    """Split-based convolution as published: softmax gates expanded over both branches."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.kept = inputs // 2
        self.gwc = nn.Conv2d(self.kept, outputs, 3, stride, 1, groups=2, bias=False)
        self.pwc = nn.Conv2d(self.kept, outputs, 1, bias=False)
        self.redundant = nn.Conv2d(inputs - self.kept, outputs, 1)
        self.bn3, self.bn1 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        first, second = x[:, : self.kept], x[:, self.kept :]
        u3 = self.bn3(self.gwc(first) + self.pwc(self.pool(first)))
        u1 = self.bn1(self.redundant(self.pool(second)))
        gates = torch.softmax(torch.stack([self.mean(u3), self.mean(u1)], 2), 2)
        return u3 * gates[:, :, 0].expand_as(u3) + u1 * gates[:, :, 1].expand_as(u1)


def spatial(split, inputs, outputs, stride):
    return SPConv(inputs, outputs, stride) if split else nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs, outputs, stride, split):
        super().__init__()
        self.conv1, self.conv2 = spatial(split, inputs, outputs, stride), spatial(split, outputs, outputs, 1)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        changed = stride != 1 or inputs != outputs
        self.shortcut = conv_bn(inputs, outputs, 1, stride) if changed else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.shortcut(x)
        return self.relu(y)


def head(channels):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def resnet(widths, blocks, split=False):
    layers, channels = [conv_bn(3, widths[0], 3, activation=nn.ReLU)], widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(BasicBlock(channels, width, 2 if stage and not block else 1, split))
            channels = width
    return nn.Sequential(*layers, *head(channels))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection."""

    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = [conv_bn(inputs, hidden, 1, activation=nn.ReLU6)] if expansion > 1 else []
        layers += [conv_bn(hidden, hidden, 3, stride, hidden, nn.ReLU6), conv_bn(hidden, outputs, 1)]
        self.body, self.residual = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet_v2():
    layers, channels = [conv_bn(3, 32, 3, activation=nn.ReLU6)], 32
    settings = [
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    for expansion, outputs, repeats, stride in settings:
        for repeat in range(repeats):
            layers.append(InvertedResidual(channels, outputs, 1 if repeat else stride, expansion))
            channels = outputs
    return nn.Sequential(*layers, conv_bn(channels, 1280, 1, activation=nn.ReLU6), *head(1280))


def lenet():
    convolutions = [
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Flatten(),
    ]  # fmt: skip
    return nn.Sequential(
        *convolutions, nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
    )


NETWORKS = {
    "ResNet18": (lambda: resnet([64, 128, 256, 512], 2), [3, 32, 32]),
    "SPConv-ResNet18": (lambda: resnet([64, 128, 256, 512], 2, split=True), [3, 32, 32]),
    "ResNet20": (lambda: resnet([16, 32, 64], 3), [3, 32, 32]),
    "MobileNetV2": (mobilenet_v2, [3, 32, 32]),
    "LeNet": (lenet, [1, 28, 28]),
}


class TrainingStep:
    """A network with its optimizer and a fixed batch."""

    def __init__(self, network, parameters, batch, layout):
        build, shape = NETWORKS[network]
        order = torch.channels_last if layout.startswith("channels_last") else torch.contiguous_format
        self.is_bf16 = layout.endswith("bf16")
        torch.manual_seed(0)
        self.network = build().to(memory_format=order)
        found = sum(it.numel() for it in self.network.parameters())
        if found != parameters:
            raise ValueError(f"{network} has {found:,} parameters here and {parameters:,} in the project")
        self.images = torch.randn([batch, *shape]).to(memory_format=order)
        self.labels = torch.randint(0, 10, [batch])
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

    def __call__(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.is_bf16):
            scores = self.network(self.images)
        loss = functional.cross_entropy(scores.float(), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def milliseconds(self):
        start = time.perf_counter()
        self()
        return 1000 * (time.perf_counter() - start)


def main():
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    step = TrainingStep(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        step()
        print(json.dumps([step.milliseconds() for _ in range(int(line))]), flush=True)


if __name__ == "__main__":
    main()
