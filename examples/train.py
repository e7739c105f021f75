"""A network and data of your own, from training to prediction: SPConv in a small network, on real digits.

python examples/train.py --epochs 5 --folder output/example
"""

import argparse
import sys
from pathlib import Path

from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppeconv import Experiment, Predictor

# isort: split
from paddle import nn  # behind Experiment, which lets Paddle use all cores

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--folder", default="output/example")
options = parser.parse_args()

digits = load_digits()
images, labels = (digits.images * (255 / 16)).astype("uint8"), digits.target  # [1797, 8, 8] from 0 to 255, and [1797]
data = (images[360:], labels[360:]), (images[:360], labels[:360])  # to train on, to evaluate on

network = nn.Sequential(
    *(nn.Conv2D(1, 16, 3, padding=1), nn.BatchNorm2D(16), nn.ReLU(), nn.MaxPool2D(2)),
    *(nn.Conv2D(16, 32, 3, padding=1), nn.BatchNorm2D(32), nn.ReLU(), nn.AdaptiveAvgPool2D(1)),
    *(nn.Flatten(), nn.Linear(32, 10)),
)
config = {
    "Operator": {"name": "SPConv", "ratio": 0.5},  # put into the network before training
    "Optimizer": {"name": "AdamW", "lr": {"name": "Cosine", "learning_rate": 0.01}},
    "Global": {"epochs": options.epochs, "overwrite": True},
}

experiment = Experiment(config, model=network, data=data, folder=options.folder)
best = max(row["eval_top1"] for row in experiment.train())
print(f"best of {len(experiment.history)} epochs: {best:.3f}, evaluated again: {experiment.evaluate().top1:.3f}")
folder = experiment.export(to="paddle")
prediction = next(Predictor(folder).predict(images[0]))
print(f"image 0 is a {labels[0]}; predicted {prediction.class_names[0]} with {prediction.scores[0]:.2f}")
