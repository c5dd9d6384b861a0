// The view in a live widget: `render` is what anywidget calls. It stands behind scrubber.js in one module, and in no
// stored output, where nobody calls it and its bytes would count.

async function render({ model, el }) {
  let shown = null;
  let turn = 0;
  async function paint() {
    const mine = (turn += 1);
    const record = await decode(model.get("header"), model.get("data"));
    if (mine !== turn) return;
    if (shown) shown.update(record);
    else shown = view(el, record);
    say();
  }
  const told = "change:message change:busy change:written";
  const say = () => {
    shown?.say(model.get("message"));
    shown?.busy(model.get("busy"));
    shown?.write(model.get("written"));
  };
  model.on("change:header change:data", paint);
  model.on(told, say);
  await paint();
  const undress = dress(el, model.get("copy_key"));
  return () => {
    model.off("change:header change:data", paint);
    model.off(told, say);
    undress();
    shown.destroy();
  };
}

// The controls beside the view are ipywidgets: name their slider handles, and keep the page's shortcuts off them.
function dress(el, key) {
  let box = null;
  const keys = (event) => { if (!event.ctrlKey && !event.metaKey && event.key !== "Tab") event.stopPropagation(); };
  const touch = () => {
    for (const node of box.querySelectorAll("input, textarea, select, button, [tabindex], [contenteditable]")) {
      node.setAttribute("data-lm-suppress-shortcuts", "true");
      const name = node.closest(".widget-inline-hbox")?.querySelector("label")?.textContent;
      if (name && !node.matches("select, textarea")) node.setAttribute("aria-label", name);
    }
  };
  const late = new MutationObserver(touch);
  const seen = new ResizeObserver(() => {
    box = el.closest(".gbi-live")?.querySelector(".gbi-controls");
    if (!box) return;
    takePlace(el, key);
    seen.disconnect();
    box.addEventListener("keydown", keys);
    late.observe(box, { childList: true, subtree: true });
    touch();
  });
  seen.observe(el);
  return () => { seen.disconnect(); late.disconnect(); box?.removeEventListener("keydown", keys); };
}

// The copy that lasts stands in an output before: it goes while the live view is there.
function takePlace(el, key) {
  for (let around = el; around; around = around.parentElement) {
    const copy = around.querySelector(`.gbi-host[data-gbi-key="${key}"]`);
    if (!copy) continue;
    copy.dataset.gbiLive = "";
    copy.remove();
    return;
  }
}

export default { render };
