"""Small runs on real digits that several tests share."""

from ppeconv import config as configs
from ppeconv.cli.main import main
from ppeconv.engine.run import Run
from ppeconv.engine.train import train


def digits_config(folder, *overrides, name="lenet_spconv_digits"):
    """A config that trains one epoch into `folder`."""
    return configs.load(name, [f"Global.output_dir={folder}", "Global.epochs=1", *overrides])


def trained_run(folder, *overrides, name="lenet_spconv_digits"):
    """The finished run of such a config."""
    config = digits_config(folder, *overrides, name=name)
    return train(config, Run.of(config, name))


def call(capsys, *arguments):
    """(exit code, output, errors) of a command line."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
