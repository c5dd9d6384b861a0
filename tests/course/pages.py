"""What every page of the course keeps to: no request to a host, and links that lead somewhere."""

import re
from urllib.parse import unquote

from bs4 import BeautifulSoup

LOADS = ("src", "srcset", "poster", "data", "action", "background")


def no_request(soup):
    for element in soup.find_all(True):
        for name in LOADS:
            assert not re.match(r"(?i)(https?:)?//", str(element.get(name, ""))), str(element)[:200]
        if element.name != "a":
            assert not re.match(r"(?i)(https?:)?//", str(element.get("href", ""))), str(element)[:200]
    for style in [*soup.find_all("style"), *soup.select("[style]")]:
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", str(style.get("style") or style.string))


def read_pages(folder):
    return {path.name: BeautifulSoup(path.read_bytes(), "html.parser") for path in folder.glob("*.html")}


def lost_links(pages):
    """The links inside a site that lead to no page of it, or to no place on that page."""
    ids = {name: {element["id"] for element in soup.find_all(id=True)} for name, soup in pages.items()}
    lost = []
    for name, soup in pages.items():
        for element in [*soup.find_all("a", href=True), *soup.find_all("form", action=True)]:
            link = str(element.get("href") or element.get("action"))
            file, _, anchor = link.partition("#")
            there = unquote(anchor) in ids.get(file or name, ()) if anchor else (file or name) in ids
            if not re.match(r"[a-z]+:", link) and not there:
                lost.append((name, link))
    return lost
