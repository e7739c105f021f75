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
    from ppeconv.engine import distributed
    from ppeconv.engine.confusion import draw_confusion, write_per_class
    from ppeconv.engine.evaluator import evaluate
    from ppeconv.engine.log import log_to, logger
    from ppeconv.engine.losses import CombinedLoss
    from ppeconv.engine.setup import make_batches, select_backend, select_device
    from ppeconv.engine.train import topk

    run, config = trained(arguments)
    select_backend(config, select_device(config.Global.device))
    distributed.join()
    model = run.load_model(config)
    batches = make_batches(config, "test")
    result = evaluate(model, batches, CombinedLoss(config.Loss.Eval), topk(config), config.Arch.class_num)
    log_to()
    logger.info(f"[Eval][Avg]{result.summary()}, images: {result.confusion.sum()}")
    names = config.Infer.class_names
    for name, count, top1 in list(zip(names, result.confusion.sum(1), result.per_class, strict=True))[:20]:
        logger.info(f"  {name}: top1 {top1:.5f} of {count} images")
    if run.exists and distributed.is_first():
        write_per_class(result, names, run.path / "per_class.csv")
        draw_confusion(result, names, run.path / "confusion.png")
        logger.info(f"all classes: {run.path / 'per_class.csv'}, {run.path / 'confusion.png'}")
