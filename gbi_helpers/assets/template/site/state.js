// What a reader changes in the views of this page is kept in its address, behind #, of which no server is told; an
// address is read when the page opens. The views know nothing of it: only pages with this script have it.
{
  const PAUSE = 500; // ms without a change, before it is written
  const MOST = 4000; // signs of one value in an address: a page of text, or a digit and a half of a trembling hand
  const SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const DRAWN = /^(([\w-]{4})+(\.([\w-]{4})+)*)?$/;
  const FINE = SIGNS.length ** 2 - 1; // parts of the pad's side that two signs tell apart

  const move = (input, value) => { input.value = value; input.dispatchEvent(new Event("input", { bubbles: true })); };
  const isPlace = (value, { min, max }) => /^\d{1,4}$/.test(value) && +value >= +min && +value <= +max;

  // ---- strokes on a pad, from 0 to 1, as text: two signs a number, a dot between strokes ----

  const signsOf = (value) => {
    const part = Math.round(FINE * Math.min(1, Math.max(0, value)));
    return SIGNS[part >> 6] + SIGNS[part & 63];
  };
  const coded = (strokes) => strokes.map((stroke) => stroke.flat().map(signsOf).join("")).join(".");
  const decoded = (text) => text.split(".").filter(Boolean).map((stroke) => stroke.match(/.{4}/g).map((place) =>
    [0, 2].map((at) => (64 * SIGNS.indexOf(place[at]) + SIGNS.indexOf(place[at + 1])) / FINE)));

  // ---- what the address says of each kind of view: `get` gives all of it by name; `set` takes what is right of it,
  // leaves the rest, and says whether it took anything ----

  function ofPad(canvas, [steps]) {
    const { record, put, write } = canvas.pad;
    const check = canvas.closest(".gbi-pad").querySelector("input[type=checkbox]");
    const digits = /^(\d)(?:\.(\d{1,4}))?$/;
    const drawn = ({ image, written, names, strokes }) => (image !== null ? { image: names[image] }
      : written ? { digit: written[1] === 1 ? `${written[0]}` : written.join(".") } : { strokes: coded(strokes) });
    return {
      get: () => ({ ...drawn(record), raw: check.checked ? "0" : "1", step: steps.value }),
      set({ image, digit, strokes, raw, step }) {
        const at = record.names.indexOf(image);
        const [, k, seed] = digits.exec(digit) ?? [];
        const take = at >= 0 ? () => put([], at) : k ? () => write(+k, +(seed ?? 1))
          : DRAWN.test(strokes ?? "?") && (() => put(decoded(strokes)));
        const [ticked, walks] = [["1", "0"].indexOf(raw), isPlace(step, steps)];
        if (take) take();
        if (ticked >= 0) {
          check.checked = ticked;
          check.dispatchEvent(new Event("change", { bubbles: true }));
        }
        if (walks) move(steps, step);
        return Boolean(take || ticked >= 0 || walks);
      },
    };
  }

  function ofText(area, ranges) {
    const slider = ranges.find(({ dataset }) => dataset.values);
    const values = slider.dataset.values.split(",");
    return {
      get: () => ({ text: area.value, hazard: values[slider.value] }),
      set({ text, hazard }) {
        const [isText, isHazard] = [text !== undefined && !text.includes("\ufffd"), values.includes(hazard)];
        if (isText) move(area, text);
        if (isHazard) move(slider, values.indexOf(hazard));
        return isText || isHazard;
      },
    };
  }

  const ofSliders = (key, ranges) => ({
    get: () => ({ [key]: ranges.map(({ value }) => value).join(",") }),
    set({ [key]: places = "" }) {
      const wanted = places.split(",");
      if (wanted.length !== ranges.length || !wanted.every((place, k) => isPlace(place, ranges[k]))) return false;
      for (const [k, place] of wanted.entries()) move(ranges[k], place);
      return true;
    },
  });

  function stateOf(toy) {
    const ranges = [...toy.querySelectorAll("input[type=range]")];
    const [canvas, area] = [toy.querySelector(".gbi-pad canvas"), toy.querySelector("textarea")];
    return canvas ? ofPad(canvas, ranges) : area ? ofText(area, ranges) : ofSliders(toy.dataset.toy, ranges);
  }

  // ---- the address ----

  const live = []; // what each view says of itself, and what it said at first

  const given = () => (location.hash.length > 3 * MOST ? {}
    : Object.fromEntries(new URLSearchParams(location.hash.slice(1))));

  // What is other than at first; `left` if some of it is too long for an address, and so left out.
  function changes({ state, first }) {
    const changed = Object.entries(state.get()).filter(([name, value]) => value !== first[name]);
    const parts = changed.map((pair) => `${new URLSearchParams([pair])}`);
    const short = parts.filter(({ length }) => length <= MOST);
    return { said: short.join("&"), left: short.length < parts.length };
  }

  function keep() {
    const said = live.map((each) => changes(each).said).filter(Boolean).join("&");
    const before = location.hash.slice(1);
    if (said === before || (!said && !before.includes("="))) return; // "#draw" is a place on the page
    try {
      history.replaceState(history.state, "", said ? `#${said}` : location.pathname + location.search);
    } catch { /* a browser that counts, or a frame that must not: the address stays as it was */ }
  }

  let resting = 0;
  function later() {
    clearTimeout(resting);
    resting = setTimeout(keep, PAUSE);
  }

  // ---- a link to what a view shows ----

  const COPIED = "The link is copied.";
  const REFUSED = "The browser did not let this page copy: the link is selected, so Ctrl+C (on a Mac \u2318C) will.";
  const TOO_LONG = " What you drew or wrote is too long for a link, and is not in it.";

  function share({ toy, ...each }) {
    const add = (tag, attributes, text = "") => {
      const node = Object.assign(document.createElement(tag), attributes, { textContent: text });
      return row.appendChild(node);
    };
    const row = toy.appendChild(Object.assign(document.createElement("div"), { className: "share" }));
    const button = add("button", { type: "button" }, "Copy a link to what is shown");
    button.setAttribute("aria-describedby", toy.dataset.toy); // its heading
    const told = add("span", { role: "status" });
    let field = null;
    button.addEventListener("click", async () => {
      const { said, left } = changes(each);
      const link = `${location.href.split("#")[0]}#${said || toy.dataset.toy}`;
      field?.remove();
      field = null;
      told.textContent = "";
      const copied = await (navigator.clipboard?.writeText(link) ?? Promise.reject()).then(() => true, () => false);
      if (!copied) {
        field = add("input", { readOnly: true, value: link, ariaLabel: "Link to what is shown" });
        field.select();
      }
      told.textContent = `${copied ? COPIED : REFUSED}${left ? TOO_LONG : ""}`;
    });
  }

  // ---- all views, once they are there ----

  const takes = ({ state, toy }) => state.set(given()) || location.hash === `#${toy.dataset.toy}`;
  const take = () => live.filter(takes)[0]?.toy.scrollIntoView(); // the page has grown since the browser went there

  function begin(toys) {
    for (const toy of toys) {
      const state = stateOf(toy);
      const each = { state, toy, first: state.get() };
      live.push(each);
      share(each);
      for (const done of ["input", "change", "click", "pointerup", "keyup"]) toy.addEventListener(done, later);
    }
    take();
    addEventListener("hashchange", take);
  }

  const toys = [...document.querySelectorAll("[data-toy]")];
  const isThere = (toy) => toy.querySelector(".gbi input[type=range]");
  const seen = new MutationObserver(look);
  function look() {
    if (!toys.every(isThere)) return;
    seen.disconnect();
    begin(toys);
  }
  seen.observe(document.body, { childList: true, subtree: true });
  look();
}
