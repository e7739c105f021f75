"""Made-up records of the zoo's rows."""

from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.choosing.contenders import contenders
from ppeconv.pretrained.record import Record
from ppeconv.zoo.rows import chosen, read_jobs

ROWS = {
    "resnet20": (0.84, 0.86),
    "resnet20_width05": (0.80,),
    "resnet20_spconv": (0.825, 0.826, 0.824),
    "resnet20_separable": (0.81,),
    "resnet14": (0.83,),
}
COSTS = {
    "resnet20": (272474, 40_000_000),
    "resnet20_width05": (68786, 10_000_000),
    "resnet20_spconv": (105082, 20_000_000),
    "resnet20_separable": (41770, 5_000_000),
    "resnet14": (175258, 30_000_000),
    "resnet20_fire": (100000, 20_000_000),
}


def made_up(row, seed, top1):
    """A record of a row as it would be kept."""
    job = chosen(read_jobs(), [row])[0]
    config = job.experiment(
        overrides=["Arch.class_num=10", "Infer.image_shape=[3, 32, 32]", f"Infer.class_names={list('abcdefghij')}"]
    )
    params, macs = COSTS[row]
    facts = {"threads": 1, "layers": "onednn", "cpu": "a CPU", "paddle": "3.3.1"}
    images = "Made up", "0" * 64
    whole = config.parts.filled().config.model_dump()
    results = 12, top1, top1, 12, params, macs, 3600.0 * seed
    return Record(row, job.row.table, seed, *results, *images, "zoo-0, 0", {}, [facts], whole, [], None)


def write_records(folder, rows=ROWS):
    """Those of rows with the top-1 of their seeds, below a folder; returns it."""
    for row, top1s in rows.items():
        for seed, top1 in enumerate(top1s, 1):
            (folder / row / f"seed{seed}").mkdir(parents=True)
            made_up(row, seed, top1).write(folder / row / f"seed{seed}")
    return folder


def made_up_contenders(folder):
    """What `write_records` wrote, by name."""
    return {contender.name: contender for contender in contenders([f"zoo:{row}" for row in ROWS], folder)}


def speed(network, batch, runtime, ms):
    return InferenceSpeed(network, batch, runtime, 1, 1, 1.0, ms, ms, 1000 * batch / ms, None, 1.0)
