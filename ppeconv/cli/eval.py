"""`eval`."""

from __future__ import annotations

import argparse

from ppeconv.cli.options import add_trained, command_parser, trained


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    parser = command_parser("eval", "Evaluate a trained network on its evaluation data.")
    add_trained(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Evaluate."""
    from ppeconv.engine.evaluator import evaluate
    from ppeconv.engine.log import log_to, logger
    from ppeconv.engine.losses import CombinedLoss
    from ppeconv.engine.setup import make_batches, select_device
    from ppeconv.engine.train import topk

    run, config = trained(arguments)
    select_device(config.Global.device)
    model = run.load_model(config)
    batches = make_batches(config, "test")
    result = evaluate(model, batches, CombinedLoss(config.Loss.Eval), topk(config), config.Arch.class_num)
    log_to()
    logger.info(f"[Eval][Avg]{result.summary()}, images: {result.confusion.sum()}")
