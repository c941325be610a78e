"use strict";
// The plot: every point where it was measured, the front of what is shown, and the lines that the readings are at.

// Plotly's symbols, and the letters that stand for them in the legend.
const SYMBOLS = [["circle", "●"], ["square", "■"], ["triangle-up", "▲"], ["diamond", "◆"], ["triangle-down", "▼"], ["cross", "✚"]];
const NARROW = 560; // pixels
const FEW = 24; // up to this many points, each has its r and its bars; of more, only those on the front

const themeColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// What the two axes show: speed and quality, or, where one of them is missing, tokens and the other.
function plotAxes(panel, relative) {
  const timed = panel.points.some((point) => point.throughput !== null);
  const scored = panel.points.some((point) => point.score !== null);
  const tokens = { value: "tokens_out", bar: null, title: "Tokens that leave the last block", reversed: true };
  const speed = relative
    ? { value: "speed", bar: "speed", title: `Speed-up over ${panel.over}` }
    : { value: "throughput", bar: "throughput", title: "Clips/s" };
  const quality = relative
    ? { value: "delta_score", bar: "bar", title: `Difference in ${panel.score} to ${panel.over}` }
    : { value: "score", bar: "drawn", title: capital(panel.score) };
  if (timed && scored) return { x: speed, y: quality, front: true };
  return { x: tokens, y: timed ? speed : quality, front: false };
}

// Bars from a value to the ends of its interval, in the form of Plotly.
function errorBars(points, axis, colour, told) {
  if (!axis.bar) return { visible: false };
  const reach = (end, sign) =>
    points.map((point) => (point[axis.bar + end] === null || !told(point) ? 0 : Math.max(0, sign * (point[axis.bar + end] - point[axis.value]))));
  return { type: "data", symmetric: false, array: reach("_high", 1), arrayminus: reach("_low", -1), color: colour, thickness: 1, width: 0 };
}

// Colour and symbol of every series of a panel as in the reports, which no filter changes; one unmerged model is black, or
// white, and several, one per engine, are stars of their engines' colours.
function seriesLooks(panel, colours) {
  const unmerged = new Set(panel.points.filter((point) => point.unmerged).map((point) => point.series));
  return [...new Set(panel.points.map((point) => point.series))].map((name) => {
    const i = panel.looks[name];
    const colour = i === null ? themeColour("ink") : colours[i % colours.length];
    if (i === null || unmerged.has(name)) return { name, symbol: "star", glyph: "★", colour };
    const [symbol, glyph] = SYMBOLS[(i + Math.floor(i / colours.length)) % SYMBOLS.length];
    return { name, symbol, glyph, colour };
  });
}

function plotTraces(panel, points, words, state, colours, [width, height]) {
  const axes = plotAxes(panel, state.axes === "relative");
  const drawn = points
    .map((point, i) => ({ ...point, standing: words[i] }))
    .filter((point) => point[axes.x.value] !== null && point[axes.y.value] !== null);
  const trace = (some, more) => ({
    type: "scatter",
    x: some.map((point) => point[axes.x.value]),
    y: some.map((point) => point[axes.y.value]),
    customdata: some.map((point) => point.id),
    hovertext: some.map((point) => [`<b>${plotText(point.name)}</b>`, ...[...pointParts(point, panel.score), point.standing].filter(Boolean).map(plotText)].join("<br>")),
    hoverinfo: "text",
    ...more,
  });
  const traces = [];
  if (axes.front) {
    const front = drawn.filter((point) => point.standing === "front").sort((a, b) => a.throughput - b.throughput);
    const line = { shape: "vh", dash: "dot", width: 1.5, color: themeColour("soft") };
    traces.push(trace(front, { mode: "lines", line, hoverinfo: "skip", meta: { glyph: "┄", name: "front of what is shown", colour: line.color } }));
  }
  const beaten = (point) => axes.front && point.standing !== "front";
  const told = (point) => point.standing !== "disturbed" && (drawn.length <= FEW || !beaten(point));
  const texts = drawn.map((point) => (told(point) ? plotText(point.short) : ""));
  const pixels = inPixels(drawn, axes, width, height);
  const places = labelPlaces(pixels.map((place, i) => ({ ...place, text: texts[i] })));
  const bars = (colour) => `${colour}${themeColour("bars")}`;
  for (const { name, colour, symbol, glyph } of seriesLooks(panel, colours)) {
    const own = drawn.filter((point) => point.series === name && point.standing !== "disturbed");
    if (!own.length) continue;
    traces.push(
      trace(own, {
        mode: "markers+text",
        meta: { glyph, name, colour },
        text: own.map((point) => texts[drawn.indexOf(point)]),
        textposition: own.map((point) => places[drawn.indexOf(point)]),
        textfont: { size: 11, color: own.map((point) => themeColour(beaten(point) ? "soft" : "ink")) },
        marker: { size: symbol === "star" ? 12 : 9, color: colour, symbol: own.map((point) => symbol + (beaten(point) ? "-open" : "")), opacity: own.map((point) => (beaten(point) ? Number(themeColour("beaten")) : 1)) },
        error_x: errorBars(own, axes.x, bars(colour), told),
        error_y: errorBars(own, axes.y, bars(colour), told),
      }),
    );
  }
  const disturbed = drawn.filter((point) => point.standing === "disturbed");
  if (disturbed.length) {
    const marker = { size: 9, symbol: "x-thin-open", color: themeColour("soft"), line: { width: 2 } };
    traces.push(trace(disturbed, { mode: "markers", marker, meta: { glyph: "✕", name: "disturbed, of no standing", colour: marker.color } }));
  }
  const chosen = drawn.filter((point) => point.id === state.point);
  traces.push(trace(chosen, { mode: "markers", hoverinfo: "skip", marker: { size: 20, symbol: "circle-open", color: themeColour("accent"), line: { width: 3 } } }));
  return { traces, axes };
}

const legendItem = ({ glyph, name, colour }) => element("li", {}, element("span", { style: `color: ${colour}`, "aria-hidden": "true" }, glyph), " ", name);

function drawPlot(place, panel, points, words, state, colours) {
  const ink = themeColour("ink");
  const narrow = place.clientWidth < NARROW;
  const height = narrow ? 400 : 520;
  const { traces, axes } = plotTraces(panel, points, words, state, colours, [0.85 * place.clientWidth, 0.75 * height]);
  const axis = ({ title, reversed }) => ({ title: { text: plotText(title) }, autorange: reversed ? "reversed" : true, gridcolor: themeColour("line"), linecolor: themeColour("soft"), zeroline: false, automargin: true });
  const layout = {
    font: { family: "system-ui, sans-serif", size: 13, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 10, r: 10, t: 30, b: 10 },
    height,
    hovermode: "closest",
    hoverlabel: { bgcolor: themeColour("paper"), bordercolor: themeColour("soft"), font: { color: ink }, align: "left" },
    showlegend: false, // it has no room for a dozen methods
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    xaxis: axis(axes.x),
    yaxis: axis(axes.y),
    modebar: { bgcolor: "rgba(0,0,0,0)", color: themeColour("soft"), activecolor: themeColour("accent") },
    shapes: readingLines(panel, axes, state),
    uirevision: JSON.stringify([panel.choices, state.axes]), // a zoom stays while points are chosen
  };
  fill(byId("legend"), ...traces.filter((one) => one.meta && one.x.length).map(({ meta }) => legendItem(meta)));
  const left = ["lasso2d", "select2d", "autoScale2d"];
  Plotly.react(place, traces, layout, { displaylogo: false, responsive: true, modeBarButtonsToRemove: left });
}

// The point that an arrow key leads to from the chosen one, along the horizontal axis.
function neighbour(panel, points, state, key) {
  const { x, y } = plotAxes(panel, state.axes === "relative");
  const drawn = points.filter((point) => point[x.value] !== null && point[y.value] !== null);
  drawn.sort((a, b) => (x.reversed ? -1 : 1) * (a[x.value] - b[x.value]) || a[y.value] - b[y.value]);
  const at = drawn.findIndex((point) => point.id === state.point);
  const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at < 0 ? drawn.length - 1 : at - 1, ArrowUp: at < 0 ? drawn.length - 1 : at - 1, Home: 0, End: drawn.length - 1 };
  if (!(key in steps) || !drawn.length) return null;
  return drawn[Math.min(drawn.length - 1, Math.max(0, steps[key]))];
}
