// Below the copy of a live view: what its controls need, and the way to a view on this page that infers by itself. It
// stands behind scrubber.js, in copies alone.

const ALIVE = { draw: "draw a digit", graph: "move the start of an inference", type: "type a text" };
const HAND = ".gbi-pad canvas, .gbi-typing textarea, .gbi-start select"; // where a reader's own work begins

const kindOf = (host) => /^\{"header":\{"kind":"(\w+)"/.exec(host.childNodes[1]?.data)?.[1];

// The next view that suits: to a text box another, and a pad to what shows images.
function pointBeside(key) {
  const others = Array.from(document.querySelectorAll(".gbi-host")).filter((host) => kindOf(host) in ALIVE);
  for (const note of document.querySelectorAll(`[data-gbi-key="${key}"] > .gbi-note`)) {
    const text = kindOf(note.parentElement) === "words";
    const other = others.find((host) => (kindOf(host) === "type") === text) ?? others[0];
    if (!other) return;
    other.id ||= `gbi-alive-${other.dataset.gbiKey}`; // a page may have several that notes lead to
    const way = note.querySelector(".gbi-way-out") ?? make("span", { class: "gbi-way-out" }, note);
    way.replaceChildren(" Without one you can ");
    const link = make("a", { href: `#${other.id}` }, way, ALIVE[kindOf(other)]);
    way.append(" on this page.");
    link.addEventListener("click", (event) => { // JupyterLab has plans of its own for what stands behind a #
      event.preventDefault();
      other.scrollIntoView();
      other.querySelector(HAND)?.focus({ preventScroll: true });
    });
  }
}
