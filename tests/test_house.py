"""The rules of the house: which way imports point, what importing costs, what the README promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ppeconv.backbones.protocol import Backbone
from tests.support.processes import python

ROOT = Path(__file__).parent.parent
LEVELS = [
    ["errors"],
    ["extras", "files"],
    ["cpu", "domains", "geometry"],
    ["layers", "schema"],
    ["backend", "registry"],
    ["observe"],
    ["counting"],
    ["operators", "data"],
    ["recalibration"],
    ["backbones"],
    ["networks"],
    ["surgery", "anywidth"],
    ["branches"],
    ["pretrained"],
    ["engine"],
    ["models"],
    ["deployment"],
    ["benchmark"],
    ["config"],
    ["experiment"],
    ["zoo"],
    ["choosing"],
    ["slimming"],
    ["integrations"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def every_import(file):
    """Modules of ppeconv that a file imports, inside functions too, as dotted names."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("ppeconv."))


def imported(file):
    """Parts of ppeconv that a file imports, inside functions too."""
    return {name.split(".")[1] for name in every_import(file)}


@pytest.mark.parametrize("file", sorted((ROOT / "ppeconv").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(file):
    own = file.relative_to(ROOT / "ppeconv").parts[0].removesuffix(".py")
    if own != "__init__":
        wrong = [name for name in imported(file) - {own} if name not in LEVEL or LEVEL[name] >= LEVEL[own]]
        assert not wrong, f"{own} imports {wrong}, which stand on the same level or above"


@pytest.mark.parametrize("name", [name for names in LEVELS for name in names if LEVEL[name] < LEVEL["config"]])
def test_below_the_experiment_nothing_knows_configs(name):
    place = ROOT / "ppeconv" / name
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        assert "config" not in imported(file), file


@pytest.mark.parametrize("file", sorted((ROOT / "ppeconv" / "backbones").glob("*.py")), ids=lambda path: path.name)
def test_backbones_name_no_operator(file):
    assert "operators" not in imported(file)


FACES_OF_CPU = ("ppeconv.backend", "ppeconv.cpu.inference.Executor")
USERS_OF_CPU = {"observe", "engine", "deployment", "benchmark", "integrations"}


@pytest.mark.parametrize("file", sorted((ROOT / "ppeconv").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_cpu_wing_stands_alone(file):
    own = file.relative_to(ROOT / "ppeconv").parts[0].removesuffix(".py")
    names = set(every_import(file))
    if own == "cpu":
        assert not {it for it in names if not it.startswith(("ppeconv.cpu.", "ppeconv.errors."))}
    elif own != "backend":
        used = {it for it in names if it.startswith(("ppeconv.cpu", "ppeconv.backend"))}
        assert all(it.startswith(FACES_OF_CPU) for it in used)
        assert not used or own in USERS_OF_CPU


def test_what_backbones_offer_is_asked_for_in_one_place():
    names = set(Backbone.__annotations__)
    probes = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file in (ROOT / "ppeconv").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in ("getattr", "hasattr")
        and any(isinstance(name, ast.Constant) and name.value in names for name in call.args[1:2])
    ]
    assert probes == [], "ask ppeconv.backbones.protocol.offers"


def test_any_width_knows_no_network():
    named = {
        node.module
        for file in (ROOT / "ppeconv" / "anywidth").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(("ppeconv.backbones", "ppeconv.networks"))
    }
    assert named <= {"ppeconv.backbones.protocol", "ppeconv.backbones.width"}


def test_importing_ppeconv_does_not_import_paddle():
    done = python(
        "import sys, ppeconv, ppeconv.cli.main\n"
        "for name in ppeconv.cli.main.COMMANDS: __import__(f'ppeconv.cli.{name}')\n"
        "assert 'paddle' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_no_other_hint_names_an_extra():
    texts = {file: file.read_text("utf-8") for file in (ROOT / "ppeconv").rglob("*.py") if file.name != "extras.py"}
    assert [file.name for file, text in texts.items() if "pip install 'ppeconv[" in text] == []


def test_commands_use_all_cores_unless_launched_or_told():
    code = (
        "from ppeconv.cli.main import main; import os; main(['list', 'operators']); "
        "print(os.environ['OMP_NUM_THREADS'], len(os.sched_getaffinity(0)))"
    )
    threads, cores = python(code).stdout.split()[-2:]
    assert threads == cores
    assert python(code, OMP_NUM_THREADS="1").stdout.split()[-2] == "1"
    assert python(code, PADDLE_TRAINER_ID="0").stdout.split()[-2] == "1"  # Paddle's own default


def test_paddleclas_is_quiet_and_light():
    pytest.importorskip("paddleclas.ppcls", reason="paddleclas is not installed")
    done = python(
        "import logging, sys, paddle, ppeconv\n"
        "ppeconv.create_model('paddle.vision.resnet18'); loaded = set(sys.modules)\n"
        "before = list(logging.getLogger().handlers)\n"
        "ppeconv.create_model('paddleclas.ResNet18', class_num=4)\n"
        "assert logging.getLogger().handlers == before\n"
        "print(sorted({'faiss', 'cv2', 'sklearn', 'pandas'} & (set(sys.modules) - loaded)))",
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert done.stderr.strip() == ""


def snippets(readme):
    text = (ROOT / readme).read_text("utf-8")
    return [block.split("```")[0] for block in text.split("```python\n")[1:]]


@pytest.mark.parametrize("readme", ["README.md", "README_cn.md"])
def test_readme_snippets_run(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = snippets(readme)
    assert blocks
    for block in blocks:
        exec(compile(block, readme, "exec"), {})


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_tools_answer_for_help(tool):
    done = subprocess.run([sys.executable, tool, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "usage: ppeconv" in done.stdout
