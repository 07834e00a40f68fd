"""The page in a real browser: ``pytest -m integration tests/playground/test_browser.py --pictures docs/images``.

It needs requirements-browser.txt and a Chromium: one on PATH, or playwright's own.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.paths import ROOT
from tests.helpers.runs import small_run
from tests.helpers.serving import served
from train_rl import train

MISSING = "is not installed: pip install -r requirements-browser.txt"
sync_api = pytest.importorskip("playwright.sync_api", reason=f"playwright {MISSING}")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=f"axe-playwright-python {MISSING}")
pytest.importorskip("uvicorn", reason="the extra demo is not installed")

pytestmark = pytest.mark.integration

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = (
    "no chromium, chromium-browser or google-chrome on PATH, and playwright has none; "
    "expected one: apt-get install chromium, or playwright install chromium"
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 120_000.0  # milliseconds: the machine may be busy
PRODUCT = "34*57"
FRAMES = """() => [...document.querySelectorAll(".tree .frame")].map((frame) => {
  const depth = Number(frame.getAttribute("aria-level")) - 1;
  const tokens = [...frame.querySelector(".line").children].map((token) => token.textContent);
  return "  ".repeat(depth) + tokens.join(" ");
})"""
COUNT = "() => document.querySelectorAll('.tok').length"
# Notes the number of tokens whenever the page has drawn some. Looking from outside would miss it on a busy machine.
WATCH = """() => {
  window.sizes = [];
  const note = () => window.sizes.push(document.querySelectorAll(".tok").length);
  new MutationObserver(note).observe(document.getElementById("paths-shown"), { childList: true, subtree: true });
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The shipped model with the figures of a run beside it, and that run under runs/."""
    folder = tmp_path_factory.mktemp("playground")
    given = request.config.getoption("--run")
    if given is None:
        run = small_run(folder / "runs" / "small")
        train(run)
        given = run.folder
    else:
        shutil.copytree(given, folder / "runs" / Path(given).name)
    shutil.copy(Path(given) / "results.json", folder)
    shutil.copy(ROOT / "pretrained" / "o1_model.pth", folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(Path("o1_model.pth"), folder) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        path = CHROMIUM or playwright.chromium.executable_path
        if not Path(path).is_file():
            pytest.skip(NO_CHROMIUM)
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """The page, freshly opened. An error in its script, or a request to elsewhere, fails the test."""
    context = browser.new_context(viewport={"width": 1180, "height": 860})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: None if asked.url.startswith(url) else complaints.append(asked.url))
    page.goto(url)
    page.wait_for_selector("#examples button")
    yield page
    context.close()
    assert not complaints


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Any:
    """Takes a picture of a page, if the command asks for pictures."""
    out = request.config.getoption("--pictures")

    def take(page: Any, name: str, height: int = 0) -> None:
        if out is not None:
            page.wait_for_timeout(700)  # what fades has faded
            shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            shown = shown.crop((0, 0, shown.width, min(shown.height, height or shown.height)))
            shown.save(Path(out) / f"playground_{name}.png", optimize=True)

    return take


def ask(page: Any, problem: str, speed: str = "Infinity", **options: str) -> None:
    """Asks and waits for the answer."""
    page.select_option("#speed", speed) if page.is_visible("#speed") else page.evaluate(
        "(speed) => { document.getElementById('speed').value = speed; }", speed
    )
    for name, value in options.items():
        page.select_option(f"#{name}", value) if name == "select" else page.fill(f"#{name}", value)
    page.fill("#problem", problem)
    page.click("#submit")
    page.wait_for_selector("body[data-state=done]")
    page.wait_for_selector("#answer small, #error:not([hidden])")


def until(page: Any, condition: str, given: Any) -> None:
    """Waits until a function of the page is true. Playwright's own way evaluates text, which the page forbids."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(condition, given):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def assert_accessible(page: Any) -> None:
    """Fails if axe-core finds something wrong on the page, and says what."""
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def test_the_tree_grows_to_what_show_reasoning_prints(page: Any, folder: Path, picture: Any) -> None:
    page.fill("#problem", PRODUCT)
    page.evaluate("document.getElementById('speed').value = '8'")
    page.evaluate(WATCH)
    page.click("#submit")
    page.wait_for_selector("#answer small")
    sizes = page.evaluate("() => window.sizes")
    assert sizes == sorted(sizes) and len(set(sizes)) >= 3
    assert page.inner_text("#answer").startswith("1938")

    command = [sys.executable, str(ROOT / "evaluate.py"), "o1_model.pth", "--ask", PRODUCT, "--show-reasoning"]
    out = subprocess.run([*command, "--quiet"], cwd=folder, capture_output=True, text=True, check=True).stdout
    printed = out.splitlines()
    assert page.evaluate(FRAMES) == printed[1:-2]
    assert page.inner_text(".thought").startswith("Thought for ")
    picture(page, "tree")
    page.emulate_media(color_scheme="dark")
    picture(page, "dark")


def test_a_finished_answer_is_replayed_step_by_step(page: Any) -> None:
    ask(page, "98+45")
    whole = page.evaluate(FRAMES)
    steps = int(page.get_attribute("#position", "max") or 0)
    page.click("#first")
    assert page.evaluate(COUNT) == 0
    page.click("#next")
    page.click("#next")
    assert page.evaluate(FRAMES) == ["<problem> 9 8 + 4 5 = <think>"]
    page.click("#back")
    assert page.evaluate(FRAMES) == ["<problem> 9 8 + 4 5 ="]
    page.click("#play")
    until(page, "(steps) => document.getElementById('position').value == steps", steps)
    assert page.evaluate(FRAMES) == whole


def test_paths_stand_side_by_side_with_votes_and_checks(page: Any, picture: Any) -> None:
    ask(page, "98+45", paths="4", seed="3")
    assert page.locator(".path").count() == 4
    assert "143: " in page.inner_text("#votes")
    assert page.locator(".path.chosen").count() == 1
    picture(page, "paths")
    ask(page, "98+45", select="check")
    assert "checks passed" in page.inner_text(".path .checks")


def test_a_shared_link_opens_the_same_answer(page: Any, browser: Any) -> None:
    ask(page, "12*34", paths="2", seed="7", temperature="0.8")
    assert "problem=12*34" in page.url and "seed=7" in page.url and "temperature=0.8" in page.url
    whole = page.evaluate(FRAMES)
    other = browser.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(page.url)
    other.wait_for_selector("#speed", state="visible")
    other.select_option("#speed", "Infinity")
    other.wait_for_selector("#answer small")
    assert other.evaluate(FRAMES) == whole
    assert (other.input_value("#paths"), other.input_value("#seed")) == ("2", "7")
    other.close()


def test_a_bad_problem_is_explained(page: Any, picture: Any) -> None:
    ask(page, "What is ninety plus 45?")
    assert "unknown word 'ninety'" in page.inner_text("#error")
    assert page.is_hidden("#result")
    ask(page, "1+1")
    assert page.is_hidden("#error") and page.inner_text("#answer").startswith("2")


def test_a_kind_that_was_not_learned_is_pointed_out(page: Any) -> None:
    ask(page, "gcd(-12, 123456789012345)")
    assert "not reliable at signed_gcd/15" in page.inner_text("#notes")
    answer = page.locator("#answer").bounding_box()
    note = page.locator("#notes").bounding_box()
    assert 0 <= note["y"] - (answer["y"] + answer["height"]) < 20
    ask(page, "1+1")
    assert page.is_hidden("#notes")


@pytest.mark.parametrize("width", [360, 1180])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(page: Any, scheme: str, width: int) -> None:
    """Contrast, names, roles and order, as far as a program can tell (WCAG 2.2 AA)."""
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    ask(page, PRODUCT, paths="2")
    assert_accessible(page)
    ask(page, "ninety plus 4")
    assert_accessible(page)
    for tab, shown in (("figures", "#figures-shown .chart"), ("training", "#run-charts .chart")):
        page.click(f"#tab-{tab}")
        page.wait_for_selector(shown)
        assert_accessible(page)


def test_probabilities_and_folding_with_a_keyboard(page: Any, picture: Any) -> None:
    ask(page, PRODUCT)
    page.hover(".tok.reasoning")
    assert "%" in page.inner_text("#tip")
    page.focus(".tree .frame")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    shown = "() => document.activeElement.getAttribute('aria-level')"
    assert page.evaluate(shown) == "3"
    for key in ("ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("() => document.activeElement.getAttribute('aria-expanded')") == "false"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.textContent") == "<think>" and page.is_visible("#tip")
    page.keyboard.press("Escape")
    assert page.evaluate(shown) == "2" and page.is_hidden("#tip")
    page.click(".thought")
    assert page.is_hidden(".tree") and page.get_attribute(".thought", "aria-expanded") == "false"


def test_a_phone_shows_all_of_it(page: Any, picture: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    ask(page, PRODUCT)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, "phone", 1500)


def test_the_other_tabs_draw_what_the_files_say(page: Any, picture: Any) -> None:
    page.focus("#tab-ask")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#figures-shown .chart")
    assert "results.json" in page.inner_text("#figures-note")
    assert page.locator("#figures-shown .chart").count() >= 4
    picture(page, "figures")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#run-charts .chart")
    assert "largest open size" in page.inner_text("#run-charts")
    assert " tokens)" in page.inner_text("#transcripts")
    picture(page, "training", 1200)


def test_the_recording(page: Any, request: pytest.FixtureRequest) -> None:
    out = request.config.getoption("--pictures")
    if out is None:
        pytest.skip("no --pictures")
    page.set_viewport_size({"width": 1080, "height": 440})
    ask(page, PRODUCT)
    steps = int(page.get_attribute("#position", "max") or 0)
    page.evaluate("scrollTo(0, document.getElementById('player').offsetTop - 95)")
    page.click("#first")
    frames = []
    for step in range(0, steps + 1, 2):
        page.evaluate(f"player.seek({min(step, steps)})")
        frames.append(
            Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize((864, 352), Image.Resampling.LANCZOS)
        )
    page.wait_for_timeout(700)
    frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize((864, 352), Image.Resampling.LANCZOS))

    # One palette for all: what does not change between two pictures then costs nothing.
    palette = frames[len(frames) // 2].quantize(64, Image.Quantize.MAXCOVERAGE)
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    path = Path(out) / "playground.gif"
    durations = [120] * (len(frames) - 1) + [3000]
    reduced[0].save(path, save_all=True, append_images=reduced[1:], duration=durations, loop=0, optimize=True)
    assert path.stat().st_size < 2 * 2**20
