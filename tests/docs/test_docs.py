"""What the pages promise: links lead somewhere, files exist, worked examples run, the config reference is current."""

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.scripts import script

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "configs").glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ENGLISH = sorted((ROOT / "docs" / "en").glob("*.md"))
BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.S)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(page):
    return [match.groupdict() for match in BLOCK.finditer(page.read_text("utf-8"))]


def slug(heading):
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def anchors(page):
    text = BLOCK.sub("", page.read_text("utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)} | set(
        re.findall(r'<a id="([^"]+)"', text)
    )


@every_page
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text("utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name} links to {target}"


@every_page
def test_files_that_are_mentioned_exist(page):
    created = {block["file"] for block in blocks(page)}
    mentioned = re.findall(
        r"(?<![\w/.-])((?:configs|tools|scripts|docs|tests|ppeconv)/[\w./-]+\.(?:yaml|py|sh|md|svg))",
        page.read_text("utf-8"),
    )
    missing = sorted({name for name in mentioned if name not in created and not (ROOT / name).is_file()})
    assert not missing, f"{page.name} mentions {missing}"


@every_page
def test_shipped_configs_that_are_mentioned_exist(page):
    from ppeconv import config as configs

    named = re.findall(r"-c (\w+)(?=[\s`])", page.read_text("utf-8"))
    for name in named:
        assert name in configs.shipped(), f"{page.name} names the config {name}"


@every_page
def test_commands_are_ones_that_the_tools_take(page):
    """Options and their values are read as the tools read them; a line with ... is not a whole command."""
    for line in commands(page):
        tool, *arguments = shlex.split(line, comments=True)
        importlib.import_module(f"ppeconv.cli.{tool}").parser().parse_args(arguments)


def commands(page):
    """What stands behind `python tools/` or `ppeconv` in blocks of commands, without .py."""
    for block in blocks(page):
        if block["language"] in ("bash", "text"):
            text = block["text"].replace("\\\n", " ")
            lines = re.findall(r"^(?:python tools/(\w+)\.py|ppeconv (\w+)(?= ))(.*)", text, re.M)
            yield from (in_clone + installed + rest for in_clone, installed, rest in lines if "..." not in rest)


def code(page):
    """What a page shows to be run or written to a file, without its comments."""
    kinds = ("python", "yaml")
    return {
        (block["file"], re.sub(r"\s*#.*", "", block["text"])) for block in blocks(page) if block["language"] in kinds
    }


@pytest.mark.parametrize("page", ENGLISH, ids=lambda path: path.name)
def test_english_pages_show_the_code_of_the_chinese_ones(page):
    """So that what runs there runs here."""
    chinese = [ROOT / "README_cn.md", *(ROOT / "docs").glob("*.md")]
    assert code(page) <= set().union(*map(code, chinese))


def test_config_reference_is_current():
    reference = script("scripts/make_config_reference.py")
    current = reference.page()
    assert current == reference.PAGE.read_text("utf-8"), "run python scripts/generate_docs.py"
    unexplained = [line for line in current.splitlines() if re.search(r"\| (Global|Arch|Operator)[.\w]* \|$", line)]
    assert not unexplained, "keys without a docstring in ppeconv/config/sections.py"


def test_index_of_configs_is_current():
    index = script("scripts/configs_index.py")
    assert index.page() == index.PAGE.read_text("utf-8"), "run python scripts/generate_docs.py"


@pytest.mark.parametrize("page", ["add_operator.md", "add_backbone.md", "add_runtime.md", "add_schedule.md"])
def test_worked_example(page, tmp_path):
    """Its files beside a copy of the repository; then its snippets, its training commands cut short, and its script.

    Nothing else is needed for the tests that find a new operator by themselves.
    """
    for folder in ("ppeconv", "configs", "docs", "scripts", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    program = ["from ppeconv.cli.main import main"]
    for block in blocks(ROOT / "docs" / page):
        if block["file"]:
            file = tmp_path / block["file"]
            assert not file.exists() or file.read_text("utf-8") == block["text"], "the example would overwrite a file"
            file.write_text(block["text"], "utf-8")
        elif block["language"] == "python":
            program.append(block["text"])
        elif block["language"] == "bash":
            for config in re.findall(r"^python tools/train.py -c (\S+)$", block["text"], re.M):
                program.append(f"assert main(['train', '-c', '{config}', '-o', 'Global.max_steps=2']) == 0")
    assert len(program) >= 2
    for file in ("README.md", "README_cn.md", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    written = [block["file"] for block in blocks(ROOT / "docs" / page) if (block["file"] or "").endswith(".py")]
    for lint in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *lint, *written], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stdout
    program.append("import runpy; runpy.run_path('scripts/generate_docs.py', run_name='__main__')")
    if page == "add_operator.md":
        files = ["operators/test_operators.py", "docs/test_operator_pages.py", "benchmark/test_benchmark.py"]
        chosen = "PartialConv or declared or drawn or readme_has or operator_has_a_config"
        arguments = ["-q", "-k", chosen, "-p", "no:cacheprovider", *(f"tests/{file}" for file in files)]
        program.append(f"import pytest\nassert pytest.main({arguments}) == 0")
    if page == "add_runtime.md":
        arguments = ["-q", "-k", "translated", "-p", "no:cacheprovider", "tests/deployment/test_runtimes.py"]
        program.append(f"import pytest\nassert pytest.main({arguments}) == 0")
    program.append(
        "import make_config_reference as reference\nassert reference.page() == reference.PAGE.read_text('utf-8')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(program)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


ROWS = re.findall(
    r"^\| (.+?) \| (.+?) \| ([\d,]+) \| ([\d,]+) \| `(\w+)` \|$", (ROOT / "README_cn.md").read_text("utf-8"), re.M
)
SHAPES = {"cifar10": (10, [3, 32, 32]), "imagenet": (1000, [3, 224, 224])}


@pytest.mark.parametrize(("network", "operator", "params", "macs", "name"), ROWS, ids=[row[-1] for row in ROWS])
def test_counts_in_the_first_table(network, operator, params, macs, name):
    import ppeconv
    from ppeconv import config as configs
    from ppeconv.experiment.parts import Parts

    classes, shape = SHAPES[name.rpartition("_")[2]]
    config = configs.with_values(configs.load(name), {"Arch.class_num": classes, "Infer.image_shape": shape})
    assert network.startswith(config.Arch.name.removesuffix("Cifar"))
    assert operator.split()[0] == (config.operators[0].name if config.operators else "Conv2D")
    counts = ppeconv.count(Parts(config).model()[0], [1, *shape])
    assert (f"{counts.params:,}", f"{counts.macs:,}") == (params, macs)


def test_the_first_table_has_rows():
    assert len(ROWS) >= 8


@pytest.mark.parametrize("page", ["docs/add_operator.md", "docs/en/add_operator.md"])
def test_every_limit_of_an_operator_is_described(page):
    from ppeconv.operators.base import LIMITS

    assert re.findall(r'^\| `"(.+?)"` \|', (ROOT / page).read_text("utf-8"), re.M) == list(LIMITS)
