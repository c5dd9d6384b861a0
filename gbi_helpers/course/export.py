"""A notebook as one HTML page that needs nothing else: no request to any host, formulas as MathML, scrubbers alive."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

from bs4 import BeautifulSoup, Tag
from jinja2 import pass_context
from latex2mathml.converter import convert_to_element
from nbconvert import HTMLExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathInlineParser
from nbformat import NotebookNode
from traitlets.config import Config

from gbi_helpers.course.notebooks import read
from gbi_helpers.files import ASSETS, part_file

TEMPLATES = ASSETS / "template"
MIME_TYPES = ["text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain"]
FUNCTIONS = ("log", "exp", "ln", "max", "min", "sin", "cos", "tanh", "Pr", "det")
CLOSING = (")", "]", "}", "!", "|", "∣", "‖", "′")

# What latex2mathml does not know, in words that it knows.
_OTHER_WORDS = (
    (r"\\(begin|end)\{(?:aligned|align|split|gather|gathered)\*?\}", r"\\\1{align*}"),
    (r"\\(?:begin|end)\{equation\*?\}", ""),
    (r"\\arg\s*\\(max|min)(?![a-zA-Z])", r"\\arg\1"),
    (r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}"),
)
# Dollars hold a formula if no space is inside of them and no digit follows: "$5 and $6" holds none (pandoc's rule).
INLINE = r"(?s:(?<![$\\])\$(?![\s$])(?P<math_inline_tex>(?:(?!\n\s*\n).)+?)(?<![\s$\\])\$(?![\d$]))"
_ANY_MATH = re.compile(r"(?s:(?<!\\)\$\$(?P<block>.+?)(?<!\\)\$\$)|" + INLINE)
_TAG = re.compile(r"(</?[a-zA-Z][^<>]*>|<!--.*?-->)", re.DOTALL)


def mathml(tex: str, *, block: bool = False) -> str:
    """A TeX formula as MathML. Raises ``ValueError`` where it holds something that is not known."""
    known = tex.strip()
    for pattern, replacement in _OTHER_WORDS:
        known = re.sub(pattern, replacement, known)
    try:
        tree = convert_to_element(known, display="block" if block else "inline")
    except Exception as error:  # latex2mathml raises many kinds, some of them plain IndexError
        raise ValueError(f"The formula cannot be read: {tex.strip()}") from error
    for element in tree.iter():
        element.text = html.unescape(element.text or "")
        _space_functions(element)
        _bind_signs(element)
    if re.search(r"[\\&]", "".join(tree.itertext())):
        raise ValueError(f"The formula holds something that cannot be shown: {tex.strip()}")
    return ElementTree.tostring(tree, encoding="unicode")


def _space_functions(row: ElementTree.Element) -> None:
    """A thin space between a function's name and an argument without brackets, as TeX sets it."""
    if row.tag not in ("mrow", "mtd", "math", "mstyle"):
        return
    for index in range(len(row) - 2, -1, -1):
        child, after = row[index], html.unescape(row[index + 1].text or "")
        name = child if child.tag == "mi" else child[0] if len(child) and child.tag in ("msub", "msup") else None
        if name is not None and (name.text or "") in FUNCTIONS and after not in ("(", "["):
            row.insert(index + 1, ElementTree.Element("mspace", width="0.167em"))


def _bind_signs(row: ElementTree.Element) -> None:
    """No space after a sign that has nothing to its left, as in (-x): a browser sees that only at a row's start."""
    for before, sign in zip(row, list(row)[1:], strict=False):
        left = html.unescape(before.text or "")
        if sign.tag == "mo" and html.unescape(sign.text or "") in "-−+" and before.tag == "mo" and left not in CLOSING:
            sign.set("form", "prefix")


def _formula(tex: str, *, block: bool = False) -> str:
    """The formula, or its source where it cannot be shown."""
    try:
        written = mathml(tex, block=block)
    except ValueError:
        return f'<code class="tex">{html.escape(tex)}</code>'
    return f'<div class="formula">{written}</div>' if block else written


class _Inline(MathInlineParser):
    SPECIFICATION: ClassVar = {**MathInlineParser.SPECIFICATION, "inline_math_tex": INLINE}


class _Markdown(IPythonRenderer):
    """Markdown as HTML with MathML, and headings that can be linked to as in JupyterLab."""

    def block_math(self, body: str) -> str:
        return _formula(body, block=True)

    def inline_math(self, body: str) -> str:
        return _formula(body)

    def latex_environment(self, name: str, body: str) -> str:
        return _formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)

    def block_html(self, html: str) -> str:
        return _formulas_in_html(self.inline_html(html))

    def inline_html(self, html: str) -> str:
        # nbconvert's own way would close every open tag, so that a <details> lost its content
        return re.sub(r"""(<img\b[^>]*?\bsrc=["'])([^"']+)""", self._embedded, html)

    def _embedded(self, match: re.Match[str]) -> str:
        return match.group(1) + self._embed_image_or_attachment(match.group(2))

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        plain = BeautifulSoup(text, "html.parser").get_text().strip()
        return f'<h{level} id="{html.escape(plain.replace(" ", "-"))}">{text}</h{level}>\n'


def _formulas_in_html(source: str) -> str:
    """Raw HTML with the formulas in its text rendered; those in code, and unpaired tags, stay as they are."""
    silent = 0
    parts = []
    for part in _TAG.split(source):
        found = re.match(r"<(/?)(code|pre|script|style)\b", part)
        if found:
            silent += -1 if found.group(1) else 1
        parts.append(part if silent or _TAG.fullmatch(part) else _ANY_MATH.sub(_matched, part))
    return "".join(parts)


def _matched(match: re.Match[str]) -> str:
    block = match.group("block")
    return _formula(html.unescape(block or match.group("math_inline_tex")), block=bool(block))


class _Exporter(HTMLExporter):
    """nbconvert's HTML exporter with the course's template, and nothing that is loaded from a host."""

    @property
    def default_config(self) -> Config:
        config = super().default_config
        config.merge(Config({"NbConvertBase": {"display_data_priority": MIME_TYPES}}))
        return config

    def default_filters(self) -> Any:
        yield from super().default_filters()
        yield "markdown2html", self._markdown
        yield "latex2html", _latex_output

    def from_notebook_node(self, nb: NotebookNode, resources: Any = None, **kw: Any) -> Any:
        """The page. HTMLExporter would parse it, look through it for cells of JupyterLab, of which it has none, and
        write it again: a third of all time. What else it does there, :func:`page_of` does.
        """
        language = nb.metadata.get("language_info", {})
        lexer = language.get("pygments_lexer", language.get("name"))
        self.register_filter("highlight_code", Highlight2HTML(pygments_lexer=lexer, parent=self))
        return TemplateExporter.from_notebook_node(self, nb, self._init_resources(resources), **kw)

    @pass_context
    def _markdown(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        path = context.get("resources", {}).get("metadata", {}).get("path", "")
        renderer = _Markdown(escape=False, attachments=attachments, embed_images=True, path=path)
        return MarkdownWithMath(renderer=renderer, inline=_Inline(hard_wrap=False)).render(source)


def _latex_output(source: str) -> str:
    body = source.strip()
    block = body.startswith(("$$", "\\[", "\\begin", "$\\displaystyle"))
    body = body.removeprefix("\\[").removesuffix("\\]").strip("$").removeprefix("\\displaystyle")
    return _formula(body, block=block)


def to_html(notebook: NotebookNode | str | Path, out: str | Path, folder: str | Path = "") -> Path:
    """Write a notebook (or the one at a path) as one self-contained HTML page to ``out``; returns that path.

    ``folder``: where a notebook that is no path lies; pictures are looked for from there.
    The page makes no request to any host, which its content security policy enforces; pictures that are not on this
    machine become links. Formulas are MathML; one that cannot be rendered stays as its TeX source.
    """
    out = Path(out)
    node = notebook if isinstance(notebook, NotebookNode) else read(Path(notebook))
    soup = page_of(node, out.stem, str(folder if node is notebook else Path(notebook).parent))
    with part_file(out) as part:
        part.write_bytes(str(soup).encode())
    return out


def page_of(node: NotebookNode, name: str, folder: str, site: Mapping[str, Any] | None = None) -> BeautifulSoup:
    """The page of a notebook that lies in ``folder``, not yet written; ``site`` is what a page of one says of it."""
    paths = [str(TEMPLATES / "site")]
    exporter = _Exporter(template_name="course", extra_template_basedirs=[str(TEMPLATES)], extra_template_paths=paths)
    page, _ = exporter.from_notebook_node(node, {"metadata": {"name": name, "path": folder}, "site": site})
    soup = BeautifulSoup(page, "html.parser")
    for image in soup.find_all("img", alt=False):
        image["alt"] = "No description has been provided for this image"
    for step in (_title, _contents, _links, _tables, stand_alone, _remote):
        step(soup)
    return soup


def _title(soup: BeautifulSoup) -> None:
    """One h1, and the page's title in its words."""
    headings = soup.find_all("h1")
    for further in headings[1:]:
        further.name = "h2"
    if headings and soup.title:
        soup.title.string = " ".join(headings[0].get_text().split())


def _contents(soup: BeautifulSoup) -> None:
    """Fill the list of contents with the sections, or drop it where there are none."""
    nav = soup.find("nav", attrs={"aria-label": "Contents"})
    sections = [heading for heading in soup.find_all("h2") if heading.get("id")]
    if not isinstance(nav, Tag):
        return
    if not sections:
        nav.decompose()
        return
    items = "".join(
        f'<li><a href="#{html.escape(str(h["id"]))}">{html.escape(h.get_text())}</a></li>' for h in sections
    )
    nav.select_one("ul").replace_with(BeautifulSoup(f"<ul>{items}</ul>", "html.parser"))  # type: ignore[union-attr]


def _links(soup: BeautifulSoup) -> None:
    """Links between notebooks lead to their pages."""
    for link in soup.find_all("a", href=re.compile(r"^[^:]+\.ipynb(#.*)?$")):
        link["href"] = re.sub(r"\.ipynb(?=#|$)", ".html", str(link["href"]))


def _tables(soup: BeautifulSoup) -> None:
    """Headers say what they head; wide tables scroll, except inside a scrubber, which looks after its own.

    Which of them are wide only the page knows: there reach.js lets the keyboard in.
    """
    for cell in soup.find_all("th"):
        if not cell.get_text(strip=True):
            cell.name = "td"
        elif not cell.get("scope"):
            cell["scope"] = "col" if cell.find_parent("thead") else "row"
    for table in soup.find_all("table"):
        table.attrs.pop("border", None)
        if not table.find_parent(class_="gbi-host"):
            table.wrap(soup.new_tag("div", attrs={"class": "table"}))


def stand_alone(soup: BeautifulSoup) -> None:
    """What a view shows without JavaScript, on a page: no cell brings it to life there, and a wide table scrolls."""
    for shown in soup.find_all(class_="gbi-fallback"):
        for hint in shown.find_all("em"):
            hint.string = hint.get_text().replace("Run this cell to", "Allow JavaScript to")
        for table in shown.find_all("table"):
            table.wrap(soup.new_tag("div", attrs={"class": "table"}))


def _remote(soup: BeautifulSoup) -> None:
    """Nothing is loaded from a host: remote pictures become links, remote scripts and styles go."""
    for element in [*soup.find_all(src=True), *soup.find_all("link", href=True)]:
        address = str(element.get("src") or element.get("href"))
        if not re.match(r"(?i)(https?:)?//", address):
            continue
        if element.name != "img":
            element.decompose()
            continue
        link = soup.new_tag("a", href=address)
        link.string = str(element.get("alt") or address)
        element.replace_with(link)
