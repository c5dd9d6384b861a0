// What a reader changes in the views of this page is kept in its address, behind #, of which no server is told; an
// address is read when the page opens. The views know nothing of it: only pages with this script have it.
{
  const PAUSE = 500; // ms without a change, before it is written
  const MOST = 4000; // signs of one value in an address: a page of text, or a digit and a half of a trembling hand
  const SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const DRAWN = /^(([\w-]{4})+(\.([\w-]{4})+)*)?$/;
  const FINE = SIGNS.length ** 2 - 1; // parts of the pad's side that two signs tell apart

  const tell = (input, type) => input.dispatchEvent(new Event(type, { bubbles: true }));
  const move = (input, value) => { input.value = value; tell(input, "input"); };
  const tick = (check, yes) => { check.checked = yes; tell(check, "change"); };
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
        if (ticked >= 0) tick(check, ticked);
        if (walks) move(steps, step);
        return Boolean(take || ticked >= 0 || walks);
      },
    };
  }

  // The view below the text is made anew for each text, so its own are set once that is read. Its cursor follows what
  // is typed: at the last word it is nowhere of its own.
  function ofText(area, ranges) {
    const slider = ranges.find(({ dataset }) => dataset.values);
    const values = slider.dataset.values.split(",");
    const shown = area.closest(".gbi-typing").querySelector(".gbi");
    const cursor = shown.querySelector(".gbi-bar-row input");
    const colours = () => shown.querySelector(".gbi-choose select");
    const isChoice = (value) => [...(colours()?.options ?? [])].some((option) => option.value === value);
    const own = () => ({ word: cursor.value === cursor.max ? "" : cursor.value, colours: colours()?.value ?? "top" });
    return {
      get: () => ({ text: area.value, hazard: values[slider.value], ...own() }),
      set({ text, hazard, word, colours: choice }) {
        const [isText, isHazard] = [text !== undefined && !text.includes("\ufffd"), values.includes(hazard)];
        const isOwn = [word, choice].some((each) => /^(top|\d{1,4})$/.test(each));
        if (isText || isOwn) move(area, isText ? text : area.value);
        if (isHazard) move(slider, values.indexOf(hazard));
        if (isOwn) onceRead(shown, () => {
          if (isChoice(choice)) { colours().value = choice; tell(colours(), "change"); }
          if (isPlace(word, cursor)) move(cursor, word);
        });
        return isText || isHazard || isOwn;
      },
    };
  }

  function onceRead(shown, then) {
    const isBusy = () => shown.getAttribute("aria-busy") === "true";
    if (!isBusy()) return then();
    const seen = new MutationObserver(() => {
      if (isBusy()) return;
      seen.disconnect();
      then();
    });
    return seen.observe(shown, { attributeFilter: ["aria-busy"] });
  }

  const SWITCHED = ",on"; // behind the places, where a switch is on

  const ofSliders = (key, ranges, check) => ({
    get: () => ({ [key]: `${ranges.map(({ value }) => value).join(",")}${check?.checked ? SWITCHED : ""}` }),
    set({ [key]: places = "" }) {
      const on = Boolean(check) && places.endsWith(SWITCHED);
      const wanted = (on ? places.slice(0, -SWITCHED.length) : places).split(",");
      if (wanted.length !== ranges.length || !wanted.every((place, k) => isPlace(place, ranges[k]))) return false;
      for (const [k, place] of wanted.entries()) move(ranges[k], place);
      if (check) tick(check, on);
      return true;
    },
  });

  function stateOf(toy) {
    const ranges = [...toy.querySelectorAll("input[type=range]")];
    const [canvas, area] = [toy.querySelector(".gbi-pad canvas"), toy.querySelector("textarea")];
    return canvas ? ofPad(canvas, ranges) : area ? ofText(area, ranges)
      : ofSliders(toy.dataset.toy, ranges, toy.querySelector(".gbi-switch input"));
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
  const opened = (toy) => toy.querySelector(".gbi input[type=range]");
  const isSettled = (toy) => opened(toy) || toy.querySelector("[data-gbi-failed]");
  const seen = new MutationObserver(look);
  function look() {
    if (!toys.every(isSettled)) return;
    seen.disconnect();
    begin(toys.filter(opened));
  }
  seen.observe(document.body, { childList: true, subtree: true });
  look();
}
