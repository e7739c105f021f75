"""Small runs on real digits that several tests share."""

import pytest

from ppeconv import UserError
from ppeconv import config as configs
from ppeconv.cli.main import main
from ppeconv.deployment.precision import require_bf16
from ppeconv.experiment import Experiment


def digits_config(folder, *overrides, name="lenet_spconv_digits"):
    """A config that trains one epoch into `folder`."""
    return configs.load(name, [f"Global.output_dir={folder}", "Global.epochs=1", *overrides])


def trained_run(folder, *overrides, name="lenet_spconv_digits"):
    """The finished run of such a config."""
    experiment = Experiment(name, [f"Global.output_dir={folder}", "Global.epochs=1", *overrides])
    experiment.train()
    return experiment.run


def skip_without_bf16():
    """Skip the test, with the reason, where this CPU does not compute in bf16."""
    try:
        require_bf16("cpu")
    except UserError as error:
        pytest.skip(str(error))


def call(capsys, *arguments):
    """(exit code, output, errors) of a command line."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
