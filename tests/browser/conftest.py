"""A real Chromium and a real JupyterLab for the browser tests, both ended by the process that started them."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

AXE = "axe-core@4.10.3"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def absent(what):
    """Skip where a tool is missing; in CI, where it must be there, fail."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{what}, and CI must run the browser tests.")
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser():
    """Chromium, from GBI_CHROMIUM or the PATH."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed (pip install -e '.[test]')")
    path = os.environ.get("GBI_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not path:
        absent("No Chromium on the PATH: install it, or set GBI_CHROMIUM to its path")
    arguments = ["--disable-dev-shm-usage"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        running.close()


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its notebooks' folder, its address, and the folder of its signatures."""

    folder: Path
    address: str
    token: str
    data: Path

    def url(self, notebook):
        return f"{self.address}/lab/tree/{notebook}?reset&token={self.token}"

    def api(self, path, method="GET"):
        request = urllib.request.Request(f"{self.address}/api/{path}?token={self.token}", method=method)
        return urllib.request.urlopen(request, timeout=20).read()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab on a free local port, with settings and data of its own."""
    root = tmp_path_factory.mktemp("lab")
    folders = {name: root / name for name in ("notebooks", "config", "data", "settings", "workspaces", "ipython")}
    for folder in folders.values():
        folder.mkdir()
    quiet = folders["settings"] / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folders["config"]),
        "JUPYTER_DATA_DIR": str(folders["data"]),
        "JUPYTERLAB_SETTINGS_DIR": str(folders["settings"]),
        "JUPYTERLAB_WORKSPACES_DIR": str(folders["workspaces"]),
        "IPYTHONDIR": str(folders["ipython"]),
        "OMP_NUM_THREADS": "1",
    }
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={folders['notebooks']}",
        f"--IdentityProvider.token={token}",
    ]
    with (root / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=environment,
            cwd=folders["notebooks"],
            stdout=log,
            stderr=log,
        )
        running = Lab(folders["notebooks"], f"http://127.0.0.1:{port}", token, folders["data"])
        try:
            _wait_for(running, server, root / "log")
            yield running
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(lab, server, log):
    for _ in range(240):
        try:
            lab.api("status")
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                break
            time.sleep(0.25)
        else:
            return
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def axe(request):
    """The source of axe-core, from npm, kept in pytest's cache."""
    folder = request.config.cache.mkdir("axe-core")
    source = folder / f"{AXE}.js"
    if not source.exists():
        if not shutil.which("npm"):
            absent("npm is missing, so axe-core cannot be fetched")
        fetched = subprocess.run(
            ["npm", "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, check=False
        )
        if fetched.returncode:
            absent(f"npm could not fetch {AXE} ({fetched.stderr.strip()[-200:]})")
        with tarfile.open(folder / fetched.stdout.split()[-1]) as packed:
            source.write_bytes(packed.extractfile("package/axe.min.js").read())
    return source.read_text(encoding="utf-8")
