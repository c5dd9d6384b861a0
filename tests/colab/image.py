"""An environment like Colab's: its old Jupyter and the packages of its image; and the course, where it is fetched.

What is not old comes from the environment that runs the tests, by links to single packages, so that nothing else of
that environment is found: not the course, nor the packages that the first cell of a notebook brings.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/ada/gbi-notebooks"
MANAGER = "https://colab.example/manager.js"
IMAGE = ["torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "pillow", "scikit-learn", "seaborn", "tqdm"]
IMAGE += ["safetensors", "tokenizers", "filelock", "requests"]
# As much of google.colab as anywidget asks; Colab's kernel has it imported before the first cell. Colab shows widgets
# of others by a manager that an output names: it adds the name to what is displayed, not to what a cell returns.
OUTPUT = f"""from types import SimpleNamespace
from IPython import get_ipython

WIDGET = "application/vnd.jupyter.widget-view+json"
_widgets = SimpleNamespace(_installed_url=None)


def _named(message):
    content = message["content"]
    if WIDGET in content.get("data", {{}}):
        content["metadata"][WIDGET] = {{"colab": {{"custom_widget_manager": {{"url": _widgets._installed_url}}}}}}
    return message


def enable_custom_widget_manager():
    if _widgets._installed_url is None:
        get_ipython().display_pub.register_hook(_named)
    _widgets._installed_url = {MANAGER!r}
"""


def installed(names):
    """The distributions of these names and of all that they need, from the environment of the tests."""
    found, waiting = {}, list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            needs = map(Requirement, found[name].requires or [])
            waiting += [need.name for need in needs if not need.marker or need.marker.evaluate({"extra": ""})]
    return found.values()


def link(distributions, folder):
    """Put links to these distributions, and to nothing beside them, into a folder."""
    folder.mkdir()
    for distribution in distributions:
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(distribution.locate_file(top))


def build(folder):
    """The environment; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pins = Path(__file__).with_name("requirements.txt")
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", pins], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    link(installed(IMAGE), folder / "image")
    (packages / "image.pth").write_text(f"{folder / 'image'}\n")  # after the old packages on the path
    (packages / "google" / "colab").mkdir(parents=True)
    (packages / "google" / "colab" / "output.py").write_text(OUTPUT)
    return python


def publish(folder):
    """The course as it would lie at ADDRESS: a clone of what is committed here, with its address written in."""
    git = ["git", "-C", str(folder), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    command = [sys.executable, "-m", "gbi_helpers.cli", "links", ADDRESS.removeprefix("https://github.com/")]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, check=True, capture_output=True)
    subprocess.run([*git, "commit", "-qam", "Where the course lies"], check=True)


def variables(folder, course):
    """The variables of Colab's kernel: no settings of this machine's user, and git finds the course at ADDRESS."""
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-colab.py").write_text("import google.colab.output\n")
    own = {"HOME": folder, "IPYTHONDIR": folder / "ipython", "JUPYTER_DATA_DIR": folder / "data"}
    own |= {"JUPYTER_CONFIG_DIR": folder / "config", "JUPYTER_RUNTIME_DIR": folder / "runtime"}
    git = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{course.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GBI_", "PYTHON", "PYTEST"))}
    return {**kept, **git, **{name: str(path) for name, path in own.items()}}
