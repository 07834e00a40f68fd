"""Looks at a run's TensorBoard as a user does: in a browser, and fails unless the charts are there.

python -m benchmarks.results.tensorboard_check runs/NAME --out docs/images

Needs requirements-browser.txt and a Chromium.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from o1nano.agents.run.cli import guarded, parse
from o1nano.envs.errors import ConfigurationError

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Tab of TensorBoard, its address, and what must be readable on it: cards outside the window are not drawn.
PAGES = {
    "scalars": (
        "?tagFilter=rollout%2F(ep_rew%7Csuccess)%7Ctrain%2F(approx_kl%7Cfirst)#timeseries",
        (
            "rollout/ep_rew_mean",
            "rollout/success_rate",
            "train/approx_kl",
            "train/first_ratio",
        ),
    ),
    "answers": (
        "?tagFilter=usage%2F(reasoning%7Csubtasks%7Cdepth)%7Creward%2F(true%7Cgroups)#timeseries",
        ("usage/reasoning_tokens", "usage/subtasks", "usage/depth", "reward/true", "reward/groups_without_variance"),
    ),
    "custom_scalars": (
        "#custom_scalars",
        ("learning", "solved", "addition", "division", "answers", "tokens by channel", "health", "KL"),
    ),
    "images": (
        "#images",
        ("evaluation/accuracy_by_digits", "evaluation/tokens_of_answers", "evaluation/learning_curve"),
    ),
    "text": ("#text", ("transcript/frontier", "transcript/easy", "config", "<problem>")),
    "hparams": ("#hparams", ("ppo.n_envs", "final/average_after")),
}
# Everything that can be read, in the shadow trees of the page's components too, without spaces: pages cut names.
READ = """() => {
  const parts = [];
  function read(node) {
    if (node.nodeType === 3) parts.push(node.data);
    if (node.shadowRoot) read(node.shadowRoot);
    if (!["STYLE", "SCRIPT", "TEMPLATE"].includes(node.nodeName)) node.childNodes.forEach(read);
  }
  read(document.body);
  return parts.join("").replace(/\\s+/g, "");
}"""
BROWSER_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu")
WINDOW = {"width": 1400, "height": 1200}


@dataclass(frozen=True)
class Options:
    """What to look at."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run that is finished."""
    out: Path | None = None
    """Where pictures of the pages go."""
    seconds: float = 120.0
    """How long a page may take."""


@contextlib.contextmanager
def served(command: list[str], says: str) -> Iterator[str]:
    """Starts a server; gives what it says about its address, and ends it."""
    # Into a file: a browser that writes more than a pipe holds would wait for ever.
    with tempfile.NamedTemporaryFile("r") as log, open(log.name, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        said = ""
        try:
            while not (found := re.search(says, said)):
                if process.poll() is not None:
                    raise SystemExit(f"{command[0]} has ended before it served anything: {said[-200:]}")
                time.sleep(0.2)
                said += log.read()
            yield found[1]
        finally:
            process.terminate()
            process.wait()


def look(page: Page, url: str, names: tuple[str, ...], seconds: float) -> list[str]:
    """Opens a page and waits until it shows some names; returns those that it does not."""
    # A new part after "#" alone would load nothing.
    page.goto("about:blank")
    page.goto(url)
    deadline = time.monotonic() + seconds
    while True:
        text = page.evaluate(READ)
        missing = [name for name in names if name.replace(" ", "") not in text]
        if not missing:
            break
        if time.monotonic() > deadline:
            return missing
        page.wait_for_timeout(1000)

    # Curves are drawn after their titles.
    page.wait_for_timeout(3000)
    return []


def is_there(page: Page, url: str, tab: str, options: Options) -> bool:
    """Looks at a tab, takes its picture, and returns whether everything was there."""
    address, names = PAGES[tab]
    missing = look(page, url + address, names, options.seconds)
    print(f"{tab}: {'missing ' + ', '.join(missing) if missing else f'all of {len(names)} there'}", flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.out / f"tensorboard_{tab}.png")
    return not missing


def main() -> int:
    """Looks at every tab; returns 1 if something is missing."""
    options = parse(Options, __doc__)
    if not any(options.run.glob("events.out.tfevents.*")):
        raise ConfigurationError(f"no TensorBoard events in {options.run}; expected the folder of a run")
    if find_spec("playwright") is None:
        raise ConfigurationError("no package playwright; expected pip install -r requirements-browser.txt")
    from playwright.sync_api import sync_playwright

    tensorboard = [sys.executable, "-m", "tensorboard.main", "--logdir", str(options.run), "--port", "0"]
    with served(tensorboard, r"(http://localhost:\d+/)") as url, sync_playwright() as playwright:
        # Without a path, the browser that "playwright install chromium" has installed.
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=list(BROWSER_FLAGS))
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(1000 * options.seconds)
        failures = [tab for tab in PAGES if not is_there(page, url, tab, options)]
        browser.close()
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(guarded("tensorboard_check.py", main))
