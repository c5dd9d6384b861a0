// A table or a formula that is too wide for the page can be reached, and so scrolled, by keyboard, and says what it is.
// One that has room is no stop on the way. Without JavaScript, browsers let the keyboard into what scrolls by themselves.
{
  const boxes = [...document.querySelectorAll(".table, .formula")];
  const times = new Map(); // regions of one name could not be told apart

  function nameOf(box) {
    const said = box.querySelector("caption")?.textContent.trim();
    const name = box.matches(".formula") ? "Formula" : said || "Table";
    times.set(name, (times.get(name) ?? 0) + 1);
    return times.get(name) > 1 ? `${name} ${times.get(name)}` : name;
  }

  const names = new Map(boxes.map((box) => [box, nameOf(box)]));

  function look(box) {
    const needed = box.scrollWidth > box.clientWidth;
    const told = { tabindex: 0, role: "region", "aria-label": names.get(box) };
    for (const [name, value] of Object.entries(told)) {
      if (needed) box.setAttribute(name, value);
      else box.removeAttribute(name);
    }
  }

  // What is folded away has no width until it is seen; what stands in a box may grow alone, as by a details within.
  const seen = new ResizeObserver((entries) => {
    for (const box of new Set(entries.map(({ target }) => target.closest(".table, .formula")))) look(box);
  });
  for (const box of boxes) for (const node of [box, ...box.children]) seen.observe(node);
}
