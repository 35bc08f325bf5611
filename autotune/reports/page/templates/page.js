"use strict";
// The parts of the page that are no charts: the choice of a config, copying, tables. All text goes in as textContent.
const data = JSON.parse(document.getElementById("data").textContent);
document.documentElement.classList.add("scripted");

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const SI = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const si = (value) => {
  const [unit, prefix] = SI.find(([size]) => value >= size) || [1, ""];
  return `${(value / unit).toPrecision(3)} ${prefix}`.trim();
};
const percent = (value) => `${(100 * value).toFixed(value < 0.1 ? 1 : 0)}%`;
const figure = (value) => (Number.isInteger(value) ? String(value) : value >= 1e4 ? value.toFixed(0) : String(Number(value.toPrecision(4))));
// As gib() of the other reports.
const gib = (value) => {
  const three = Number(value.toPrecision(3));
  return value.toFixed(three >= 10 ? 1 : three >= 1 ? 2 : 3);
};
const FORMATS = {
  share: percent, compute_ratio: percent, memory_ratio: percent,
  flops_per_second: si, bytes_per_second: si, "peak GiB": gib,
};
const shown = (column, value) => (value === null ? "" : typeof value === "string" ? value : (FORMATS[column] || figure)(value));

function chooseExample() {
  const select = document.getElementById("example");
  const examples = document.querySelectorAll(".example");
  const choose = () => examples.forEach((each, place) => each.classList.toggle("chosen", place === Number(select.value)));
  select.addEventListener("change", choose);
  choose();
  document.getElementById("copy").addEventListener("click", async () => {
    const said = document.getElementById("copied");
    said.textContent = "";
    const chosen = document.querySelector(".example.chosen");
    said.textContent = (await copied(chosen)) ? "Copied" : "Selected: press Ctrl+C";
  });
}

async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    // No clipboard on an insecure origin, or none permitted: the older way, which also leaves the text selected.
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

// A table whose rows are sorted by a column and searched; columns that no row has anything for are left out. keep(row): a
// filter from outside; call the result to redraw.
function liveTable(host, columns, rows, {wide = [], keep = () => true, step = 200} = {}) {
  let order = {column: -1, down: false};
  let limit = step;
  const search = make("input", {type: "search", placeholder: "all columns", autocomplete: "off", spellcheck: false});
  const count = make("span", {className: "muted"});
  count.setAttribute("role", "status");
  const body = make("tbody");
  const more = make("button", {type: "button", className: "more", textContent: "Show all"});
  const numeric = columns.map((_, place) => rows.some((row) => typeof row[place] === "number"));
  const places = [...columns.keys()].filter((place) => rows.some((row) => row[place] !== null && row[place] !== ""));
  const heads = places.map((place) => {
    const column = columns[place];
    const button = make("button", {type: "button", textContent: column.replaceAll("_", " ")});
    const head = make("th", {scope: "col", className: numeric[place] ? "number" : ""}, button);
    button.addEventListener("click", () => {
      // Figures first from the largest, words from A.
      order = {column: place, down: order.column === place ? !order.down : numeric[place]};
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      heads.forEach((each, at) => { each.firstChild.textContent = columns[places[at]].replaceAll("_", " ") + (places[at] === place ? (order.down ? " \u2193" : " \u2191") : ""); });
      draw();
    });
    return head;
  });
  const haystacks = new Map(rows.map((row) => [row, row.filter((cell) => cell !== null).join(" ").toLowerCase()]));

  function draw() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = rows.filter((row) => keep(row) && words.every((word) => haystacks.get(row).includes(word)));
    if (order.column >= 0) found = [...found].sort((one, other) => compare(one[order.column], other[order.column], order.down));
    count.textContent = `${Math.min(limit, found.length)} of ${found.length}${found.length < rows.length ? ` found in ${rows.length}` : ""}`;
    more.hidden = found.length <= limit;
    body.replaceChildren(...found.slice(0, limit).map((row) => make("tr", {}, ...places.map((place) => make("td", {
      className: numeric[place] ? "number" : wide.includes(columns[place]) ? "remark" : "",
      textContent: shown(columns[place], row[place]),
    })))));
  }

  search.addEventListener("input", draw);
  more.addEventListener("click", () => { limit = Infinity; draw(); });
  const scroll = make("div", {className: "scroll", tabIndex: 0}, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body));
  host.append(make("div", {className: "controls"}, make("label", {}, "search ", search), count, more), scroll);
  draw();
  return draw;
}

function compare(one, other, down) {
  // What is absent stands last either way.
  if (one === null || other === null) return (one === null) - (other === null);
  const sign = down ? -1 : 1;
  return sign * (typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other)));
}

// Which layers the roofline and the table of layers show.
const layerFilter = {
  phases: () => new Set([...document.querySelectorAll(".phase:checked")].map((box) => box.value)),
  passes() {
    const phases = this.phases();
    const words = document.getElementById("module").value.toLowerCase().trim();
    return ([layer, phase, module]) => phases.has(phase) && `${layer}\n${module}`.toLowerCase().includes(words);
  },
};

if (document.getElementById("example")) chooseExample();
if (data.trials) liveTable(document.getElementById("trials"), data.trials.columns, data.trials.rows, {wide: ["remark"]});
if (data.layers) {
  let passes = layerFilter.passes();
  let redraw = () => {};
  const host = document.getElementById("layers");
  // Thousands of rows: made when somebody looks at them.
  host.closest("details").addEventListener("toggle", () => {
    redraw = liveTable(host, data.layers.columns, data.layers.rows, {wide: ["layer", "remark"], keep: (row) => passes(row)});
  }, {once: true});
  const changed = () => { passes = layerFilter.passes(); redraw(); document.dispatchEvent(new Event("layers-filtered")); };
  document.querySelectorAll(".phase").forEach((box) => box.addEventListener("change", changed));
  document.getElementById("module").addEventListener("input", changed);
}
