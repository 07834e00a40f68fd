"""Looks at a run's TensorBoard as a user does: in a browser, and fails unless the charts are there.

python -m benchmarks.results.tensorboard_check runs/NAME --out docs/images

Needs ``chromium`` and ``chromedriver``, which speaks WebDriver over HTTP: no package of Python's is needed for it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from o1nano.agents.run.cli import guarded, parse
from o1nano.envs.errors import ConfigurationError

# Page of TensorBoard, its address, and what must be readable on it: cards outside the window are not drawn.
PAGES = {
    "scalars": (
        "?tagFilter=rollout%2F(ep_rew%7Csuccess)%7Ctrain%2F(approx_kl%7Cfirst%7Ckl_to)#timeseries",
        (
            "rollout/ep_rew_mean",
            "rollout/success_rate",
            "train/approx_kl",
            "train/first_ratio",
            "train/reference_kl",
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
# Everything that can be read, in the shadow trees of the page's components too.
READ = """
const parts = [];
function read(node) {
  if (node.nodeType === 3) parts.push(node.data);
  if (node.shadowRoot) read(node.shadowRoot);
  if (!["STYLE", "SCRIPT", "TEMPLATE"].includes(node.nodeName)) node.childNodes.forEach(read);
}
read(document.body);
return parts.join("").replace(/\\s+/g, "");
"""


@dataclass(frozen=True)
class Options:
    """What to look at."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run that is finished."""
    out: Path | None = None
    """Where pictures of the pages go."""
    seconds: float = 120.0
    """How long a page may take."""


class Browser:
    """A headless Chromium, driven by WebDriver.

    Args:
        address: Where chromedriver listens.
        seconds: How long it may take to open or to read a page.
    """

    def __init__(self, address: str, seconds: float) -> None:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1600"]
        # Pages are not waited for: what counts is what can be read on them.
        wanted = {"goog:chromeOptions": {"args": arguments}, "pageLoadStrategy": "none"}
        self.address = f"{address}/session"
        self.address += "/" + self._call("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self._call("/timeouts", {"script": int(1000 * seconds), "pageLoad": int(1000 * seconds)})

    def _call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        """Loads a page again, whatever was open before: a new part after ``#`` alone would load nothing."""
        self._call("/url", {"url": "about:blank"})
        self._call("/url", {"url": url})

    def text(self) -> str:
        """Returns everything that can be read, without spaces: pages cut names into pieces."""
        return str(self._call("/execute/sync", {"script": READ, "args": []}))

    def picture(self) -> bytes:
        """Returns a picture of the page, PNG."""
        return base64.b64decode(self._call("/screenshot"))

    def close(self) -> None:
        """Ends the browser."""
        self._call("", method="DELETE")


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


def look(browser: Browser, url: str, names: tuple[str, ...], seconds: float) -> list[str]:
    """Opens a page and waits until it shows some names; returns those that it does not."""
    browser.open(url)
    deadline = time.monotonic() + seconds
    while True:
        text = browser.text()
        missing = [name for name in names if name.replace(" ", "") not in text]
        if not missing:
            break
        if time.monotonic() > deadline:
            return missing
        time.sleep(1.0)
    time.sleep(3.0)  # curves are drawn after their titles
    return []


def is_there(browser: Browser, url: str, page: str, options: Options) -> bool:
    """Looks at a page, takes its picture, and returns whether everything was there."""
    address, names = PAGES[page]
    missing = look(browser, url + address, names, options.seconds)
    print(f"{page}: {'missing ' + ', '.join(missing) if missing else f'all of {len(names)} there'}", flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"tensorboard_{page}.png").write_bytes(browser.picture())
    return not missing


def main() -> int:
    """Looks at every page; returns 1 if something is missing."""
    options = parse(Options, __doc__)
    if not any(options.run.glob("events.out.tfevents.*")):
        raise ConfigurationError(f"no TensorBoard events in {options.run}; expected the folder of a run")
    driver = shutil.which("chromedriver")
    if driver is None:
        raise ConfigurationError("no chromedriver; expected chromium and chromedriver to be installed")
    tensorboard = [sys.executable, "-m", "tensorboard.main", "--logdir", str(options.run), "--port", "0"]
    with (
        served(tensorboard, r"(http://localhost:\d+/)") as url,
        served([driver, "--port=0"], r"started successfully on port (\d+)") as port,
    ):
        browser = Browser(f"http://localhost:{port}", options.seconds)
        try:
            failures = [page for page in PAGES if not is_there(browser, url, page, options)]
        finally:
            browser.close()
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(guarded("tensorboard_check.py", main))
