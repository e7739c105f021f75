"""What VisualDL's pages show of a run, seen in Chromium; the screenshots stay in build/screenshots/."""

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.runs import trained_run

pytestmark = pytest.mark.full
SCREENSHOTS = ROOT / "build" / "screenshots"
CURVES = {"epoch": ["loss", "top1", "top5"], "step": ["loss", "top1", "lr", "ips"]}
NOTE_TEXTS = """
    window.texts = new Set()
    const draw = CanvasRenderingContext2D.prototype.fillText
    CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        window.texts.add(text)
        return draw.call(this, text, ...place)
    }
"""
LINE_PIXELS = """canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    return pixels.reduce((count, blue, i) => count + (i % 4 == 2 && pixels[i + 1] > 0 && blue - pixels[i - 2] > 60), 0)
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of VisualDL with one run."""
    folder = tmp_path_factory.mktemp("visualdl")
    trained_run(folder, "Global.epochs=3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    visualdl = Path(sys.executable).with_name("visualdl")
    place = ["--logdir", folder, "--host", "127.0.0.1", "--port", str(port), "--language", "en"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([visualdl, *place], **quiet) as process:
        try:
            address = f"http://127.0.0.1:{port}/app"
            wait_for(address)
            yield address
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        pytest.skip("there is no Chromium; Debian: apt-get install chromium")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1400, "height": 2300}, locale="en-US")
    page.route("https://**", lambda route: route.abort())  # the page counts its visitors elsewhere
    yield page
    page.close()


def wait_for(address):
    """Until something answers there."""
    for _ in range(120):
        try:
            return urllib.request.urlopen(urllib.request.Request(address, headers={"Accept-Language": "en"}))
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"nothing answers at {address}")


def test_curves(server, page):
    page.add_init_script(NOTE_TEXTS)
    page.goto(f"{server}/scalar")
    for group in list(CURVES)[1:]:
        page.get_by_text(group, exact=True).click()
    tags = [f"{group}/{tag}" for group, tags in CURVES.items() for tag in tags]
    page.wait_for_function("tags => tags.every(tag => window.texts.has(tag))", arg=tags)
    charts = page.locator("canvas")
    for number in range(len(tags)):
        page.wait_for_function(f"canvas => ({LINE_PIXELS})(canvas) > 50", arg=charts.nth(number).element_handle())
    assert charts.count() == len(tags)
    page.screenshot(path=SCREENSHOTS / "scalars.png")


def test_images(server, page):
    page.goto(f"{server}/sample/image")
    page.get_by_text(re.compile(r"^samples/359 \d$")).wait_for()
    page.wait_for_function("""() => [...document.images].filter(image => image.naturalWidth == 28).length == 8""")
    page.screenshot(path=SCREENSHOTS / "images.png")


def test_hyper_parameters(server, page):
    page.set_viewport_size({"width": 2200, "height": 800})  # the last columns of a narrow table are hidden
    page.goto(f"{server}/hyper-parameter")
    page.get_by_text("Trial ID", exact=True).wait_for()
    for shown in ("LeNet", "SPConv{'ratio': 0.5}", "Adam", "0.002", "epoch/top1"):
        page.get_by_text(shown, exact=True).locator("visible=true").first.wait_for()
    page.screenshot(path=SCREENSHOTS / "hyper_parameters.png")
