"""How fast is a scrub in JupyterLab? ``PYTHONPATH=tests python -m widgets.lab_benchmark`` starts one and presses keys.

Two times of each key press, both from the browser's own time stamp of the key event: until everything is drawn (the
handler is done), and until the next frame has been painted. Keys come at random moments, so at a random phase of the
display. Needs playwright and Chromium (``GBI_CHROMIUM``, or on the PATH).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from widgets.toy import toy_path, toy_slide, toy_words

from gbi_helpers.progress import progress_bar
from gbi_helpers.widgets import read_along, scrub
from gbi_helpers.widgets.view import RecordView

# In a microtask after the key's handlers the drawing is done; a message sent from the next frame arrives after its
# paint.
PROBE = """() => {
  window.gbiTimes = [];
  let pressed = 0;
  document.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (!pressed) return;
    const from = pressed, drawn = performance.now() - from;
    pressed = 0;
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.gbiTimes.push([drawn, performance.now() - from]);
      channel.port2.postMessage(0);
    });
  }).observe(document.querySelector(".gbi-readout"), { childList: true, characterData: true, subtree: true });
}"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: the folder of its notebooks, its address, and the folder of its signatures."""

    folder: Path
    address: str
    token: str
    data: Path

    def url(self, notebook: str) -> str:
        """Where a notebook opens, in a clean workspace."""
        return f"{self.address}/lab/tree/{notebook}?reset&token={self.token}"

    def api(self, path: str, method: str = "GET") -> bytes:
        """Call the server's own interface. Raises ``OSError`` where it does not answer."""
        request = urllib.request.Request(f"{self.address}/api/{path}?token={self.token}", method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())

    def trust(self, notebook: str) -> None:
        """Sign a notebook as its author would."""
        from nbformat.sign import NotebookNotary

        NotebookNotary(data_dir=str(self.data)).sign(nbformat.read(self.folder / notebook, as_version=4))

    def open_without_kernel(self, page: Any, notebook: str) -> None:
        """Open a notebook that names no kernel on a playwright page, and choose none."""
        page.goto(self.url(notebook))
        dialog = page.locator(".jp-Dialog", has_text="Select Kernel")
        dialog.wait_for(timeout=60_000)
        dialog.locator("select").select_option(label="No Kernel")
        dialog.locator("button.jp-mod-accept").click()
        dialog.wait_for(state="detached")


@contextlib.contextmanager
def jupyterlab(root: Path) -> Iterator[Lab]:
    """A JupyterLab on a free local port, with notebooks, settings and signatures under ``root``; ended on leaving.

    Raises ``RuntimeError`` with the end of its log if it does not start within a minute.
    """
    folders = {
        name: root / name for name in ("notebooks", "config", "data", "lab/user-settings", "workspaces", "ipython")
    }
    quiet = folders["lab/user-settings"] / "@jupyterlab" / "apputils-extension"
    for folder in (*folders.values(), quiet):
        folder.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    names = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
        "IPYTHONDIR",
    )
    settings = dict(zip(names, map(str, list(folders.values())[1:]), strict=True))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = Lab(folders["notebooks"], f"http://127.0.0.1:{port}", secrets.token_hex(16), folders["data"])
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
    options += ["--LabApp.expose_app_in_browser=True"]  # lets a test wait for the kernel
    options += [
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={lab.folder}",
        f"--IdentityProvider.token={lab.token}",
    ]
    with (root / "log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=os.environ | settings, cwd=lab.folder, stdout=log, stderr=log)
    try:
        _wait_for(lab, server, root / "log")
        yield lab
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            lab.api("status")
        except OSError:
            time.sleep(0.25)
        else:
            return
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def chromium() -> str | None:
    """The path of Chromium: GBI_CHROMIUM, or what is on the PATH, or None."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return os.environ.get("GBI_CHROMIUM") or next(filter(None, found), None)


def press_keys(page: Any, count: int) -> np.ndarray:
    """Press arrow keys at random moments; (count, 2) milliseconds from key to drawn, and to the next frame."""
    page.locator(".gbi input").first.focus()
    page.evaluate(PROBE)
    last = int(page.locator(".gbi input").first.get_attribute("max"))
    for press in progress_bar(range(count), desc="keys"):
        page.keyboard.press("ArrowRight" if press // last % 2 == 0 else "ArrowLeft")
        page.wait_for_timeout(random.uniform(30, 70))
    return np.array(page.evaluate("window.gbiTimes"))


def measure(shown: RecordView, count: int) -> np.ndarray:
    """Open a stored, trusted notebook with one view in JupyterLab, and press ``count`` keys."""
    from playwright.sync_api import sync_playwright

    bundle = shown._repr_mimebundle_()
    output = nbformat.v4.new_output("execute_result", data=bundle, execution_count=1)
    cell = nbformat.v4.new_code_cell("shown", outputs=[output], execution_count=1)
    with tempfile.TemporaryDirectory() as name, jupyterlab(Path(name)) as lab, sync_playwright() as playwright:
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), lab.folder / "scrub.ipynb")
        lab.trust("scrub.ipynb")
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(lab.url("scrub.ipynb"))
        page.locator(".jp-Dialog .jp-mod-accept").click(timeout=60_000)  # which kernel? the one that is offered
        page.locator(".gbi").wait_for(timeout=60_000)
        page.wait_for_timeout(5000)  # the kernel starts beside; let the machine come to rest
        times = press_keys(page, count)
        browser.close()
    return times


def main(arguments: list[str] | None = None) -> None:
    """Print median and 95th percentile of both times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keys", type=int, default=300, help="how many key presses (default 300)")
    parser.add_argument("--tasks", type=int, default=10, help="how many bars (default 10)")
    parser.add_argument("--words", type=int, default=0, help="read along a text of so many words instead")
    parser.add_argument("--sliders", action="store_true", help="a picture of two sliders instead, 10 x 7 places")
    options = parser.parse_args(arguments)
    shown: RecordView = scrub(toy_path(options.tasks, steps=50), labels="digit")
    what = f"{options.tasks} tasks, 50 steps with 28 x 28 images"
    if options.words:
        what, shown = f"a text of {options.words} words", read_along(toy_words(options.words))
    if options.sliders:
        what, shown = "two sliders, two panels", toy_slide()
    times = measure(shown, options.keys)
    print(f"JupyterLab, {what}, {len(times)} of {options.keys} keys seen")
    for column, name in enumerate(("key to drawn", "key to next frame")):
        median, high = np.percentile(times[:, column], [50, 95])
        print(f"{name}: median {median:.1f} ms, 95th percentile {high:.1f} ms")


if __name__ == "__main__":
    main()
