"""The package in an environment of its own."""

import subprocess
import sys

import pytest

from tests.processes import ROOT


@pytest.mark.full
def test_the_quickstarts_environment_knows_the_package_from_any_folder(tmp_path):
    """Installing it a second time does nothing, and needs no network."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    install = f". scripts/environment.sh && install_package {tmp_path / 'env'}"
    for offline in ({}, {"PIP_NO_INDEX": "1"}):
        environment = {"PATH": "/usr/bin:/bin", **offline}
        done = subprocess.run(
            ["bash", "-c", install], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    python = [tmp_path / "env" / "bin" / "python", "-I", "-c"]
    done = subprocess.run(
        [*python, "import ppeconv; print(ppeconv.__file__)"], cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(ROOT / "ppeconv" / "__init__.py")
    assert (tmp_path / "env" / "bin" / "ppeconv").is_file()
