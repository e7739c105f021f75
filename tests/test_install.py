"""What ppeconv asks for as a package, what a light install goes without, and the environment of the quick start."""

import ast
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from ppeconv.extras import EXTRAS, install_hint
from tests.support.processes import ROOT
from tests.support.runs import call

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
"""Module -> what it is installed as, where the names differ."""


def ranges(extra):
    """What an extra asks for, the extras that it holds among it."""
    for asked in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if asked.name == "ppeconv":
            yield from (held for other in asked.extras for held in ranges(other))
        else:
            yield asked


def pins(file):
    """What a requirements file and those that it includes install."""
    for line in (ROOT / file).read_text("utf-8").splitlines():
        if line.startswith("-r "):
            yield from pins(line[3:])
        elif line and not line.startswith("#"):
            yield Requirement(line)


def assert_pinned(asked, files):
    """The files pin every package, to versions within its range."""
    pinned = [pin for file in files for pin in pins(file)]
    for wanted in asked:
        versions = [pin for pin in pinned if pin.name.lower() == wanted.name.lower()]
        assert versions, f"{wanted.name} is not in {files}"
        for pin in versions:
            (exact,) = pin.specifier
            assert exact.operator == "==", pin
            assert wanted.specifier.contains(exact.version), f"{pin} is not within {wanted}"


def test_the_tested_set_is_within_the_ranges():
    assert_pinned(map(Requirement, PROJECT["dependencies"]), ["requirements.txt"])


@pytest.mark.parametrize("extra", EXTRAS)
def test_hints_to_install_name_what_there_is(extra):
    """The files of a clone hold every package that the extra of the package asks for."""
    files = install_hint(extra).split("pip install -r ")[1].split(";")[0].split(" -r ")
    assert_pinned(ranges(extra), files)
    assert f"pip install 'ppeconv[{extra}]'" in install_hint(extra)


def test_requirements_name_the_packages_that_paddle_users_know():
    assert {pin.name for pin in pins("requirements.txt")} >= {
        *("paddlepaddle", "paddleclas", "visualdl", "pyyaml", "numpy")
    }
    assert {pin.name for pin in pins("requirements-gpu.txt")} >= {"paddlepaddle-gpu", "paddleclas", "visualdl"}


def roots(nodes):
    """Names of the packages that import statements import."""
    for node in nodes:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        yield from (name.split(".")[0] for name in names)


def test_what_is_imported_at_once_is_a_dependency():
    """Packages of extras are imported where they are used, so that a light install imports every module."""
    allowed = {Requirement(line).name for line in PROJECT["dependencies"]} | {"paddle", "ppeconv"}
    for file in (ROOT / "ppeconv").rglob("*.py"):
        imported = set(roots(ast.parse(file.read_text("utf-8")).body)) - set(sys.stdlib_module_names)
        wrong = {name for name in imported if DISTRIBUTIONS.get(name, name) not in allowed}
        assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


@pytest.fixture
def hide(monkeypatch):
    """Makes packages not importable."""
    return lambda *packages: [monkeypatch.setitem(sys.modules, package, None) for package in packages]


def test_a_light_install_trains_and_says_what_it_leaves_out(hide, tmp_path, capsys):
    hide("matplotlib", "visualdl")
    options = ["-o", "Global.epochs=1", "Global.max_steps=1", f"Global.output_dir={tmp_path}"]
    code, output, errors = call(capsys, "train", "-c", "lenet_spconv_digits", *options)
    assert (code, errors) == (0, "")
    (said,) = [line for line in output.splitlines() if "matplotlib" in line or "visualdl" in line]
    assert (
        "curves.png is not drawn and nothing is logged for VisualDL, as matplotlib and visualdl are not installed; "
        + install_hint("train")
    ) in said
    (run,) = tmp_path.iterdir()
    assert (run / "results.csv").is_file()
    assert not (run / "curves.png").exists()
    assert not (run / "vdl").exists()

    code, output, errors = call(capsys, "eval", "--run", run)
    assert (code, errors) == (0, "")
    assert f"all classes: {run / 'per_class.csv'}\n" in output
    assert "confusion.png is not drawn, as matplotlib is not installed; " + install_hint("train") in output
    assert not (run / "confusion.png").exists()


def test_a_light_install_refuses_what_it_lacks(hide, tmp_path, capsys):
    hide("matplotlib", "sklearn")
    speed = ["benchmark", "-c", "lenet_conv_digits", "--plot", tmp_path / "speed.png"]
    code, _, errors = call(capsys, *speed)
    assert code == 2
    assert "needs the package matplotlib, which is not installed; " + install_hint("train") in errors
    code, _, errors = call(capsys, "train", "-c", "lenet_conv_digits", "-o", f"Global.output_dir={tmp_path}")
    assert code == 2
    assert "part of scikit-learn, which is not installed; " + install_hint("zoo") in errors


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
