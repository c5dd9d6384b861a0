// How the views look, in any host page, in forced colours and on paper. It stands before scrubber.js in one module.

const HEIGHT = 188; // of a chart

// How specific the selectors are: more than any of a host page, so that its styles for svg, table or button lose. Every
// HTML element of a view begins at the browser's own style (SVG's attributes are styles too, and would go with them).
// Views of an older release may stand on the same page: they lack the second class, and keep their looks.
const OWN = ".gbi.gbi-own:not(#a#b)";
const RESET_CSS = `
.gbi { all: initial; color-scheme: inherit; direction: ltr; unicode-bidi: isolate; }
.gbi *:not(svg *) { all: revert; box-sizing: border-box; }
.gbi svg * { fill: inherit; stroke: inherit; stroke-width: inherit; letter-spacing: inherit; opacity: 1; }
.gbi::before, .gbi::after, .gbi ::before, .gbi ::after { content: none; }
`;

const COMMON_CSS = `
.gbi { --blue: #0072B2; --mark: #D55E00; --green: #009E73; --paper: var(--jp-layout-color0, Canvas);
  --line: color-mix(in srgb, currentColor 22%, transparent); --soft: color-mix(in srgb, currentColor 76%, transparent);
  --ground: color-mix(in srgb, currentColor 8%, transparent); --rail: color-mix(in srgb, currentColor 30%, transparent);
  color: var(--jp-content-font-color1, inherit);
  font: 13px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); font-variant-numeric: tabular-nums;
  display: block; max-width: 860px; padding: 6px 5px 8px; box-sizing: border-box; }
:is([data-jp-theme-light=false], [theme=dark], .vscode-dark) .gbi { --blue: #56B4E9; --mark: #E69F00;
  --paper: var(--jp-layout-color0, #222); }
.gbi [hidden] { display: none !important; }
.gbi .gbi-title { font-weight: 600; font-size: 15px; margin: 0 0 8px; }
.gbi .gbi-panels { display: flex; flex-wrap: wrap; gap: 10px 18px; align-items: flex-start; }
.gbi .gbi-panel { flex: 1 1 175px; min-width: 0; margin: 0; }
.gbi .gbi-panel.gbi-wide { flex: 1.35 1 215px; }
.gbi .gbi-pictures { flex: 0 0 auto; display: flex; gap: 12px; }
.gbi .gbi-pictures figure { margin: 0; }
.gbi .gbi-head { font-size: 12px; color: var(--soft); margin: 0 0 2px; overflow-wrap: anywhere; }
.gbi svg { display: block; width: 100%; height: ${HEIGHT}px; overflow: visible; }
.gbi svg text { font: 11px var(--jp-ui-font-family, system-ui, sans-serif); fill: var(--soft);
  font-variant-numeric: tabular-nums; }
.gbi svg .gbi-on { fill: currentColor; font-weight: 700; }
.gbi svg .gbi-grid { stroke: var(--line); }
.gbi svg .gbi-zero { stroke: currentColor; }
.gbi svg .gbi-bar { fill: var(--blue); }
.gbi svg .gbi-stripe { fill: var(--mark); }
.gbi svg .gbi-gap { fill: #fff; }
.gbi .gbi-panel.gbi-grouped { flex-basis: 100%; }
.gbi .gbi-grouped svg { height: ${HEIGHT + 72}px; }
.gbi svg .gbi-shade { fill: var(--ground); }
.gbi svg .gbi-sum { fill: currentColor; }
.gbi svg .gbi-curve { fill: none; stroke: var(--blue); stroke-width: 2; stroke-linejoin: round; }
.gbi svg .gbi-curve-1 { stroke: var(--mark); stroke-dasharray: 7 4; }
.gbi svg .gbi-curve-2 { stroke: var(--green); stroke-dasharray: 2 3; }
.gbi svg .gbi-curve-3 { stroke: currentColor; stroke-dasharray: 9 3 2 3; }
.gbi svg .gbi-name { font-weight: 700; fill: currentColor; stroke: var(--paper); stroke-width: 3px;
  paint-order: stroke; }
.gbi svg .gbi-cursor { stroke: var(--mark); stroke-width: 1.5; stroke-dasharray: 4 3; }
.gbi svg .gbi-dot { fill: var(--mark); stroke: var(--paper); stroke-width: 1.5; }
.gbi .gbi-curve-box { cursor: ew-resize; touch-action: pan-y pinch-zoom; }
.gbi canvas { display: block; width: 120px; height: auto; image-rendering: pixelated; border: 1px solid var(--line);
  margin-top: 6px; }
.gbi .gbi-bar-row { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin-top: 12px; }
.gbi button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); height: 30px;
  border-radius: 6px; padding: 0 10px; cursor: pointer; display: inline-flex; align-items: center; gap: 6px; }
.gbi button:hover { background: var(--ground); }
.gbi button svg { width: 12px; height: 12px; fill: currentColor; }
.gbi .gbi-play { min-width: 84px; justify-content: center; }
.gbi :focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
.gbi input { -webkit-appearance: none; appearance: none; flex: 1 1 160px; min-width: 120px; height: 30px;
  margin: 0; padding: 0; background: transparent; cursor: pointer; border-radius: 6px; }
.gbi input::-webkit-slider-runnable-track { height: 4px; border-radius: 2px; background: var(--rail); }
.gbi input::-moz-range-track { height: 4px; border-radius: 2px; background: var(--rail); }
.gbi input::-webkit-slider-thumb { -webkit-appearance: none; width: 16px; height: 16px; margin-top: -6px;
  border-radius: 50%; background: var(--blue); border: 0; }
.gbi input::-moz-range-thumb { width: 16px; height: 16px; border-radius: 50%; background: var(--blue); border: 0; }
.gbi .gbi-readout { margin: 6px 0 0; font-size: 14px; min-height: 1.4em; }
.gbi .gbi-say { margin: 8px 0 0; padding: 6px 10px; border-left: 3px solid var(--mark); }
.gbi .gbi-written { margin: 0; }
.gbi .gbi-written:not(:empty) { margin: 10px 0 0; padding: 8px 12px; border-left: 3px solid var(--blue);
  font-size: 15px; line-height: 1.6; background: var(--ground);
  white-space: pre-wrap; }
.gbi[aria-busy=true] .gbi-panels { opacity: .45; }
@media (prefers-reduced-motion: no-preference) { .gbi .gbi-panels { transition: opacity .15s; } }
`;

const MORE_CSS = `--soft: currentColor; --line: color-mix(in srgb, currentColor 60%, transparent);
  --rail: var(--line);`;
// These stand behind the styles of every kind. In forced colours the reader's own few colours remain, so shapes tell.
const LAST_CSS = `
body[data-jp-theme-name*="High Contrast"] .gbi { ${MORE_CSS} }
@media (prefers-contrast: more) { .gbi { ${MORE_CSS} } }
@media (forced-colors: active) {
  .gbi.gbi.gbi { --blue: CanvasText; --mark: Highlight; --green: CanvasText; --paper: Canvas;
    --line: color-mix(in srgb, CanvasText 45%, Canvas); --soft: CanvasText;
    --ground: Canvas; --rail: CanvasText; color: CanvasText; }
  .gbi svg .gbi-curve { stroke: CanvasText; }
  .gbi svg .gbi-gap { fill: Canvas; }
  .gbi svg .gbi-cursor { stroke-width: 2.5; }
  .gbi button:hover, .gbi-live button:hover { outline: 2px dotted ButtonText; outline-offset: -5px; }
  .gbi :focus-visible, .gbi button:focus-visible, .gbi-controls :focus { outline: 3px solid Highlight;
    outline-offset: 2px; }
  .gbi input::-webkit-slider-thumb { background: Highlight; border: 2px solid CanvasText; }
  .gbi input::-moz-range-thumb { background: Highlight; border: 2px solid CanvasText; box-sizing: border-box; }
  .gbi-live :is(.noUi-target, .noUi-connects, .noUi-connect) { background: CanvasText; }
  .gbi-live .noUi-handle { background: Highlight; border: 2px solid CanvasText; }
  .gbi-live .jupyter-button { border: 1px solid ButtonText; }
  .gbi-live select { appearance: auto; background-image: none; }
}
@media print {
  .gbi.gbi.gbi { --blue: #0072B2; --mark: #D55E00; --paper: #fff; color: #000;
    background: #fff; break-inside: avoid; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .gbi .gbi-bar-row { display: none; }
  .gbi .gbi-panel, .gbi .gbi-pictures { break-inside: avoid; }
}
`;

// The styles of all views, with those of the kinds of record. Each view on a page brings its own, and a later view's
// common styles stand behind an earlier one's kinds: so kinds are more specific than what is common, and the last more
// than kinds.
function styles(kinds) {
  const own = (css, more) => css.replace(/\.gbi(?![\w-])/g, OWN + more);
  return own(RESET_CSS + COMMON_CSS, "") + own(kinds.join(""), ".gbi") + own(LAST_CSS, ".gbi.gbi");
}
