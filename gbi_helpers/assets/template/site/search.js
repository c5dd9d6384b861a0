{
  const MOST = 40, AROUND = 90;
  // Letters without their marks, unit for unit, so that places in the folded text are places in the text.
  const fold = (text) => text.replace(/[^\x00-\x7f]/g, (unit) => unit.normalize("NFKD")[0]).toLowerCase();
  const { pages, sections } = JSON.parse(document.getElementById("sections").textContent);
  const known = sections.map(([page, anchor, heading, text]) =>
    ({ page: pages[page], anchor, heading, text, head: fold(heading), body: fold(text) }));
  const box = document.getElementById("q"), list = document.getElementById("found");

  // 0 where a word is missing; headings weigh more than text, and the words as a phrase more than apart.
  function score({ head, body }, words) {
    if (!words.every((word) => head.includes(word) || body.includes(word))) return 0;
    const phrase = words.join(" ");
    return 1 + 4 * words.filter((word) => head.includes(word)).length + 2 * body.includes(phrase) + 4 * head.includes(phrase);
  }

  function marked(text, folded, words) {
    const all = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    const parts = [];
    let end = 0;
    for (const { index, 0: hit } of folded.matchAll(new RegExp(all, "g"))) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(index, index + hit.length);
      parts.push(text.slice(end, index), mark);
      end = index + hit.length;
    }
    return [...parts, text.slice(end)];
  }

  function extract({ text, body }, words) {
    const places = words.map((word) => body.indexOf(word)).filter((place) => place >= 0);
    const first = places.length ? Math.min(...places) - AROUND : 0;
    const from = first > 0 ? text.indexOf(" ", first) + 1 : 0, after = text.indexOf(" ", from + 3 * AROUND);
    const to = after < 0 ? text.length : after;
    return [from ? "… " : "", ...marked(text.slice(from, to), body.slice(from, to), words), to < text.length ? " …" : ""];
  }

  function shown(section, words) {
    const item = document.createElement("li"), link = document.createElement("a"), where = document.createElement("span");
    link.href = `${section.page.file}#${encodeURIComponent(section.anchor)}`;
    link.append(...marked(section.heading, section.head, words));
    where.textContent = section.page.title;
    const text = document.createElement("p");
    text.append(...extract(section, words));
    item.append(link, where, text);
    return item;
  }

  function look() {
    const words = fold(box.value).split(/\s+/).filter(Boolean);
    const found = words.length ? known.map((section) => [score(section, words), section]).filter(([points]) => points) : [];
    found.sort(([one], [other]) => other - one);
    list.replaceChildren(...found.slice(0, MOST).map(([, section]) => shown(section, words)));
    const count = `${found.length} section${found.length === 1 ? "" : "s"} with ${words.length > 1 ? "these words" : "this word"}`;
    const told = found.length > MOST ? `${count}, the first ${MOST} are shown.` : `${count}.`;
    document.getElementById("told").textContent = !words.length ? "" : found.length ? told : "No section has all of these words.";
  }

  let pause;
  box.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(look, 150); });
  box.value = new URLSearchParams(location.search).get("q") ?? "";
  look();
}
