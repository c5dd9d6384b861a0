"""What the tests ask of the HTML of a view: what it holds for the browser, and what is left of it without scripts."""

import base64
import json
import re
import zlib
from typing import Any

from bs4 import BeautifulSoup, Comment


def comments(html: str) -> list[str]:
    """The comments of a view's host: its code, and its data."""
    host = BeautifulSoup(html, "html.parser").select_one(".gbi-host")
    return [node for node in host.children if isinstance(node, Comment)]


def unpack(html: str) -> tuple[dict[str, Any], bytes]:
    """The header and the raw arrays of an output, read back as the browser reads them."""
    blob = json.loads(comments(html)[1])
    return blob["header"], zlib.decompress(base64.b64decode(blob["data"]))


def still(html: str) -> str:
    """What is seen where nothing runs: the output without its comments."""
    return re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)


def shown(view: Any, monkeypatch: Any) -> list[dict[str, Any]]:
    """The outputs that a live view displays in a cell."""
    outputs: list[dict[str, Any]] = []
    monkeypatch.setattr("gbi_helpers.widgets.live.display", lambda data, raw: outputs.append(data))
    view._ipython_display_()
    return outputs
