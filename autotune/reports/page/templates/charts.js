"use strict";
// The charts, from the data that page.js has read. Colours come from the style sheet, so that they follow its scheme.
(() => {
  const SYMBOLS = {compute: "circle", memory: "square", latency: "triangle-up", host: "diamond", communication: "star", unmodelled: "x"};
  const CELL_SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star", "hexagon", "cross", "hourglass"];
  const CELL_COLOURS = ["compute", "memory", "communication", "host", "latency", "unmodelled"];
  const narrow = matchMedia("(max-width: 760px)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // Plotly reads some HTML in text: names from outside are shown as they are, in lines that fit.
  const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const lines = (text, width = 60) => (String(text).match(new RegExp(`.{1,${width}}`, "gsu")) || [""]).slice(0, 6).map(plain).join("<br>");
  const short = (text, width = 40) => plain(text.length > width ? `${text.slice(0, width - 1)}\u2026` : text);

  // Margins are fixed: with automargin Plotly draws each chart twice.
  const axis = (title, more = {}) => ({
    title: {text: title, font: {size: 12}}, gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), ...more,
  });
  // Plotly's log axes count in powers of ten: ticks named here, so that they read as figures.
  const batchAxis = (sizes) => axis("batch size", {type: "log", tickvals: sizes, ticktext: sizes.map(String)});
  // Above the plot, where it takes its own room: below it, it would stand in the axis, whose margin is fixed.
  const above = () => ({orientation: "h", x: 0, yref: "container", y: 1, yanchor: "top", font: {size: 11}, maxheight: 0.7});

  const charts = [];
  const undrawn = new Set();
  const chart = (id, height, build) => {
    const element = document.getElementById(id);
    if (!element) return;
    charts.push({element, height, build});
    undrawn.add(charts.at(-1));
  };
  // Plotly takes the height from the element again when the window changes.
  function reserve({element, height}) {
    const tall = typeof height === "function" ? height() : height;
    element.style.minHeight = `${tall}px`;
    return tall;
  }
  function draw(chart) {
    const {element, build} = chart;
    const {traces, layout} = build();
    const tall = reserve(chart);
    undrawn.delete(chart);
    Plotly.react(element, traces, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {family: "system-ui, 'DejaVu Sans', sans-serif", color: colour("text"), size: 12},
      hoverlabel: {align: "left", bgcolor: colour("panel"), bordercolor: colour("line"), font: {color: colour("text"), size: 12}},
      margin: {l: 56, r: 12, t: 12, b: 44}, height: tall, hovermode: "closest", ...layout,
    }, {
      responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
      // Where nothing hovers the bar would stay, over legends and labels.
      displayModeBar: window.matchMedia("(hover: none)").matches ? false : "hover",
    });
  }

  const layers = data.layers ? data.layers.rows.map((row) => Object.fromEntries(data.layers.columns.map((name, place) => [name, row[place]]))) : [];

  function layerText(layer) {
    const of = (column) => shown(column, layer[column]);
    const parts = [
      `<b>${lines(layer.layer)}</b>`,
      plain([layer.phase, layer.module].filter(Boolean).join(", ")),
      `${of("time_ms")} ms, ${of("share")} of the step; ${plain(layer.bound)}`,
      `compute ${of("compute_ratio")}, memory ${of("memory_ratio")} of its time at the ceiling`,
      `${of("flops_per_second")}FLOP/s, ${of("bytes_per_second")}B/s, ${of("intensity")} FLOP/byte`,
      `${of("kernels")} kernels${layer.waves ? `, ${of("waves")} waves` : ""}${layer.idle_before_ms ? `, idle before: ${of("idle_before_ms")} ms` : ""}`,
      layer.arithmetic && `compared with ${plain(layer.arithmetic)}`,
      layer.remark && plain(layer.remark),
    ];
    return parts.filter(Boolean).join("<br>");
  }

  chart("roofline", () => (narrow.matches ? 560 : 600), () => {
    const passes = layerFilter.passes();
    const {x, y, roofs} = data.roofline;
    const largest = Math.max(...layers.map((layer) => layer.time_ms));
    // Thousands of points would cover each other, and an outline for each takes a browser long.
    const [smallest, outline] = layers.length > 500 ? [4, 0] : [6, 1];
    const groups = Object.fromEntries(Object.keys(SYMBOLS).map((bound) => [bound, []]));
    layers.forEach((layer, place) => {
      if (x[place] !== null && passes([layer.layer, layer.phase, layer.module])) groups[layer.bound].push(place);
    });
    const points = Object.entries(groups).filter(([, places]) => places.length).map(([bound, places]) => ({
      type: "scatter", mode: "markers", name: `${bound} (${places.length})`,
      x: places.map((place) => x[place]), y: places.map((place) => y[place]),
      text: places.map((place) => layerText(layers[place])), hovertemplate: "%{text}<extra></extra>",
      marker: {
        symbol: SYMBOLS[bound], color: colour(bound), opacity: 0.75, line: {width: outline, color: colour("ground")},
        size: places.map((place) => smallest + (narrow.matches ? 20 : 34) * Math.sqrt(layers[place].time_ms / largest)),
      },
    }));
    const lid = roofs.map((roof) => ({
      type: "scatter", mode: "lines", name: plain(roof.name), x: roof.x, y: roof.y, hoverinfo: "name", hoverlabel: {namelength: -1},
      visible: roof.used ? true : "legendonly",
      line: {color: colour(roof.measured ? "text" : "muted"), width: roof.measured ? 1.6 : 1.2, dash: roof.measured ? "solid" : "dash"},
    }));
    const powers = Array.from({length: 25}, (_, place) => 10 ** (place - 6));
    const logs = {type: "log", tickvals: powers, ticktext: powers.map((power) => (power < 1e3 ? String(power) : si(power).replace(/\.0+ /, " ")))};
    return {traces: [...lid, ...points], layout: {xaxis: axis("FLOP/byte", logs), yaxis: axis("FLOP/s", logs), legend: above(), uirevision: "kept"}};
  });
  document.addEventListener("layers-filtered", () => drawn().filter(({element}) => element.id === "roofline").forEach(draw));

  const bars = ({names, ms, shares}) => ({
    traces: [{
      type: "bar", orientation: "h", x: ms, y: names, cliponaxis: false, textposition: "auto",
      text: ms.map((value, place) => `${figure(value)} ms, ${percent(shares[place])}`), hovertemplate: "%{y}: %{text}<extra></extra>",
      marker: {color: names.map((name) => colour(SYMBOLS[name] ? name : name === "idle" ? "unmodelled" : "compute"))},
      insidetextfont: {color: colour("ground")}, outsidetextfont: {color: colour("text")},
    }],
    layout: {xaxis: axis("ms"), yaxis: axis("", {autorange: "reversed"}), bargap: 0.25, margin: {l: 118, r: 12, t: 4, b: 40}},
  });
  chart("by-class", () => 70 + 34 * data.by_class.names.length, () => bars(data.by_class));
  chart("by-phase", () => 70 + 34 * data.by_phase.names.length, () => bars(data.by_phase));

  chart("by-module", () => (narrow.matches ? 420 : 460), () => {
    const {labels, parents, own_ms, bounds} = data.by_module;
    return {
      traces: [{
        type: "icicle", ids: labels.map((_, place) => String(place)), labels: labels.map((label) => short(label)),
        parents: parents.map((parent) => (parent < 0 ? "" : String(parent))), values: own_ms, branchvalues: "remainder",
        text: bounds.map((bound, place) => (place ? bound : "")), textinfo: "label+text+percent root", maxdepth: narrow.matches ? 4 : 5,
        hovertemplate: "<b>%{label}</b><br>%{value:.4~r} ms, %{percentRoot:.1%} of the step<br>mostly %{text}<extra></extra>",
        tiling: {orientation: narrow.matches ? "v" : "h", pad: 1}, sort: true, leaf: {opacity: 1},
        marker: {colors: bounds.map((bound, place) => colour(place && bound ? bound : "panel")), line: {width: 1, color: colour("ground")}},
        insidetextfont: {color: bounds.map((bound, place) => colour(place && bound ? "ground" : "text"))},
        pathbar: {visible: true, textfont: {color: colour("text")}},
      }],
      // Text that nobody can read is left out.
      layout: {margin: {l: 4, r: 4, t: 28, b: 4}, uniformtext: {minsize: 10, mode: "hide"}},
    };
  });

  const measured = data.measured || [];
  const cells = [...new Set(measured.map((each) => each.cell))];
  const cellStyle = (cell) => {
    const place = cells.indexOf(cell);
    return {symbol: CELL_SYMBOLS[place % CELL_SYMBOLS.length], color: colour(CELL_COLOURS[place % CELL_COLOURS.length])};
  };
  const settingText = (each) => [
    `<b>${lines(each.setting)}</b>`,
    each.images_per_second !== null && `${figure(each.images_per_second)} images/s [${figure(each.low)}, ${figure(each.high)}]`,
    each.peak_gib !== null && `${gib(each.peak_gib)} GiB`,
    each.outcome !== "ok" && plain(each.outcome.replaceAll("_", " ")),
    each.is_baseline && "the baseline", each.is_recommended && "recommended",
  ].filter(Boolean).join("<br>");
  // Rings around the two configs that the verdict is about.
  const rings = (x, y) => [["is_baseline", "baseline", "square-open"], ["is_recommended", "recommended", "circle-open"]].map(([flag, name, symbol]) => {
    const found = measured.filter((each) => each[flag] && x(each) !== null && y(each) !== null);
    return {type: "scatter", mode: "markers", name, x: found.map(x), y: found.map(y), hoverinfo: "skip", marker: {symbol, size: 20, color: colour("text"), line: {width: 2}}};
  }).filter((trace) => trace.x.length);
  const byCell = (value, more) => cells.map((cell) => {
    const found = measured.filter((each) => each.cell === cell && value(each) !== null);
    return {
      type: "scatter", mode: "lines+markers", name: short(cell), x: found.map((each) => each.batch_size), y: found.map(value),
      text: found.map(settingText), hovertemplate: "%{text}<extra></extra>", marker: {...cellStyle(cell), size: 9}, line: {width: 1.5, color: cellStyle(cell).color}, ...more(found),
    };
  }).filter((trace) => trace.x.length);
  const failures = (y) => {
    const failed = measured.filter((each) => each.outcome !== "ok");
    return failed.length ? [{
      type: "scatter", mode: "markers", name: "failed", x: failed.map((each) => each.batch_size), y: failed.map(y), text: failed.map(settingText),
      hovertemplate: "%{text}<extra></extra>", marker: {symbol: "x-thin", size: 11, color: colour("text"), line: {width: 2.5, color: colour("text")}}, cliponaxis: false,
    }] : [];
  };
  const sizes = [...new Set(measured.map((each) => each.batch_size))].sort((one, other) => one - other);
  const limit = data.memory_limit_gib;
  // Room for the legend, which has a line per cell where they do not fit side by side.
  const searchHeight = () => (cells.length > 6 || narrow.matches ? 330 + 20 * (cells.length + 4) : 400);

  chart("speed", searchHeight, () => ({
    traces: [
      ...byCell((each) => each.images_per_second, (found) => ({error_y: {
        type: "data", symmetric: false, thickness: 1.2, width: 4,
        array: found.map((each) => each.high - each.images_per_second), arrayminus: found.map((each) => each.images_per_second - each.low),
      }})),
      ...rings((each) => each.batch_size, (each) => each.images_per_second), ...failures(() => 0),
    ],
    layout: {xaxis: batchAxis(sizes), yaxis: axis("images/s", {rangemode: "tozero"}), legend: above()},
  }));
  chart("memory", searchHeight, () => ({
    traces: [
      ...byCell((each) => each.peak_gib, () => ({})), ...rings((each) => each.batch_size, (each) => each.peak_gib),
      // A config that found no room stands at the limit that it hit.
      ...failures((each) => each.peak_gib ?? (["out_of_memory", "thrash"].includes(each.outcome) && limit ? limit : 0)),
      ...(limit && sizes.length ? [{
        type: "scatter", mode: "lines", name: `limit: ${gib(limit)} GiB`, x: [sizes[0] / 1.15, sizes.at(-1) * 1.15], y: [limit, limit], hoverinfo: "name",
        hoverlabel: {namelength: -1}, line: {dash: "dash", width: 1.5, color: colour("memory")},
      }] : []),
    ],
    layout: {xaxis: batchAxis(sizes), yaxis: axis("peak memory, GiB", {rangemode: "tozero"}), legend: above()},
  }));
  chart("front", searchHeight, () => {
    const front = measured.filter((each) => each.on_front).sort((one, other) => one.peak_gib - other.peak_gib);
    const known = measured.filter((each) => each.peak_gib !== null && each.images_per_second !== null);
    return {
      traces: [
        {type: "scatter", mode: "lines", name: "none is both faster and smaller", x: front.map((each) => each.peak_gib), y: front.map((each) => each.images_per_second), line: {shape: "hv", color: colour("muted"), width: 1.5, dash: "dot"}, hoverinfo: "skip"},
        ...cells.map((cell) => {
          const found = known.filter((each) => each.cell === cell);
          return {type: "scatter", mode: "markers", name: short(cell), x: found.map((each) => each.peak_gib), y: found.map((each) => each.images_per_second), text: found.map(settingText), hovertemplate: "%{text}<extra></extra>", marker: {...cellStyle(cell), size: 10}};
        }).filter((trace) => trace.x.length),
        ...rings((each) => each.peak_gib, (each) => each.images_per_second),
      ],
      layout: {xaxis: axis("peak memory, GiB", {rangemode: "tozero"}), yaxis: axis("images/s", {rangemode: "tozero"}), legend: above()},
    };
  });
  // Rows for blocks, from the top; row 0 is for all of them.
  const blockAxis = (count, all) => axis("block", {
    range: [count + 0.7, all ? -0.7 : 0.3], tickvals: Array.from({length: count + 1}, (_, place) => place).slice(all ? 0 : 1),
    ticktext: ["all", ...Array.from({length: count}, (_, place) => String(place + 1))].slice(all ? 0 : 1),
  });
  // Within 1% is a tie.
  const tie = () => ({type: "rect", x0: 1 / 1.01, x1: 1.01, y0: 0, y1: 1, yref: "paper", fillcolor: colour("muted"), opacity: 0.35, line: {width: 0}, layer: "below"});
  chart("heats", () => 400 + 20 * data.heats.sides.length, () => {
    const {of, reference, sides} = data.heats;
    return {
      traces: sides.map(({setting, blocks}, place) => ({
        type: "scatter", mode: "markers", name: short(setting), x: blocks, y: blocks.map((_, block) => block + 1),
        hovertemplate: `${lines(setting)}<br>block %{y}: %{x:.3f}x<extra></extra>`,
        marker: {symbol: CELL_SYMBOLS[place % CELL_SYMBOLS.length], size: 9, color: colour(CELL_COLOURS[place % CELL_COLOURS.length])},
      })),
      layout: {xaxis: axis(`${of} as ${short(reference)}`), yaxis: blockAxis(sides[0].blocks.length, false), shapes: [tie()], legend: above(), showlegend: true},
    };
  });
  chart("race", 400, () => {
    const {of, setting, ratio, low, high, blocks} = data.race;
    const known = ratio !== null && low !== null && high !== null;
    return {
      traces: [
        {type: "scatter", mode: "markers", name: "blocks", x: blocks, y: blocks.map((_, place) => place + 1), hovertemplate: "block %{y}: %{x:.3f}x<extra></extra>", marker: {symbol: "circle", size: 9, color: colour("compute")}},
        ...(known ? [{
          type: "scatter", mode: "markers", name: "95% interval", x: [ratio], y: [0], hovertemplate: `${figure(ratio)}x [${figure(low)}, ${figure(high)}]<extra></extra>`,
          marker: {symbol: "diamond", size: 12, color: colour("memory")}, error_x: {type: "data", symmetric: false, array: [high - ratio], arrayminus: [ratio - low], thickness: 2, width: 8},
        }] : []),
      ],
      layout: {xaxis: axis(`${short(setting)}: ${of}`), yaxis: blockAxis(blocks.length, true), shapes: [tie()], legend: above()},
    };
  });

  const watchedChoice = document.getElementById("watched");
  const watched = () => data.nvml[watchedChoice ? Number(watchedChoice.value) : 0];
  if (watchedChoice) watchedChoice.addEventListener("change", () => {
    document.getElementById("watched-notes").replaceChildren(...watched().notes.map((line) => make("li", {textContent: line})));
    drawn().filter(({element}) => element.id === "nvml").forEach(draw);
  });
  chart("nvml", () => 60 + 150 * watched().panels.length, () => {
    const {panels, bands} = watched();
    const rows = panels.length;
    const layout = {
      shapes: bands.flatMap(({spans}, place) => spans.map(([x0, x1]) => ({
        type: "rect", x0, x1, y0: 0, y1: 1, yref: "paper", layer: "below", line: {width: 0}, opacity: 0.16, fillcolor: colour(CELL_COLOURS[place % CELL_COLOURS.length]),
      }))),
      // Named where it begins, one below another, so that a band does not rely on its colour.
      annotations: bands.map(({event, spans}, place) => ({
        text: plain(event), x: spans[0][0], y: 1, yref: "paper", yshift: -13 * place, xanchor: "left", yanchor: "top", showarrow: false, font: {size: 11, color: colour("text")},
      })),
      legend: above(), xaxis: axis("seconds", {anchor: `y${rows > 1 ? rows : ""}`}), hovermode: "x unified", margin: {l: 56, r: 12, t: 8, b: 44},
    };
    const traces = panels.flatMap(({unit, lines: series}, row) => {
      const number = row ? String(row + 1) : "";
      const top = 1 - row / rows;
      layout[`yaxis${number}`] = axis(unit, {domain: [top - 0.86 / rows, top], rangemode: unit === "MHz" || unit === "\u00b0C" ? "normal" : "tozero"});
      return series.map(({name, x, y}, place) => ({
        type: "scatter", mode: "lines", name: `${name}, ${unit}`, x, y, yaxis: `y${number}`,
        line: {width: 1.5, color: colour(CELL_COLOURS[place % CELL_COLOURS.length]), dash: ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"][place % 6]},
      }));
    });
    return {traces, layout};
  });

  const drawn = () => charts.filter((chart) => !undrawn.has(chart));
  const redraw = () => { [...undrawn].forEach(reserve); drawn().forEach(draw); };
  // What the window shows first, then the others from the top: one at a time, so that the page answers meanwhile.
  const places = [...document.querySelectorAll(".chart")];
  charts.sort((one, other) => places.indexOf(one.element) - places.indexOf(other.element));
  // So that nothing moves when they are drawn, nor where a link into the page leads.
  charts.forEach(reserve);
  const seen = new Set();
  const next = () => {
    const waiting = charts.filter((chart) => undrawn.has(chart));
    const visible = waiting.find(({element}) => seen.has(element));
    document.documentElement.dataset.drawn = visible ? "some" : waiting.length ? "visible" : "all";
    if (!waiting.length) return;
    draw(visible || waiting[0]);
    setTimeout(next);
  };
  const watcher = new IntersectionObserver((entries) => {
    const first = !document.documentElement.dataset.drawn;
    entries.forEach(({target, isIntersecting}) => seen[isIntersecting ? "add" : "delete"](target));
    if (first) next();
  });
  // After the first paint, so that the verdict and the config are there at once.
  requestAnimationFrame(() => setTimeout(() => {
    document.body.append(make("script", {textContent: document.getElementById("plotly").textContent}));
    charts.forEach(({element}) => watcher.observe(element));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    narrow.addEventListener("change", redraw);
    addEventListener("beforeprint", () => { document.documentElement.classList.add("printing"); charts.forEach(draw); });
    addEventListener("afterprint", () => { document.documentElement.classList.remove("printing"); redraw(); });
  }));
})();
