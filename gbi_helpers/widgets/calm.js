// For views whose read-out changes with every move of a pen, or every letter: a screen reader hears it once it has come
// to rest. It stands behind scrubber.js.

const REST = 700; // ms without a change, after which a screen reader may speak

function calm(root) {
  const readout = root.querySelector(".gbi-readout");
  let resting = 0;
  return {
    draw() {
      readout.setAttribute("aria-live", "off");
      clearTimeout(resting);
      resting = setTimeout(() => {
        const said = readout.textContent;
        readout.setAttribute("aria-live", "polite");
        readout.textContent = "";
        readout.textContent = said;
      }, REST);
    },
  };
}
