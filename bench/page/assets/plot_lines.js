"use strict";
// Lines at the loss and the speed that the readings are taken at.
function readingLines(panel, axes, state) {
  if (!axes.front) return [];
  const line = (at) => ({ type: "line", line: { color: themeColour("accent"), width: 1, dash: "dash" }, layer: "between", ...at });
  const start = panel.points.find((point) => point.reference && isCompared(point));
  const lines = [];
  const y = state.axes === "relative" ? -state.loss : start ? start.score - state.loss : null;
  const x = state.axes === "relative" ? state.speed : start ? start.throughput * state.speed : null;
  if (y !== null) lines.push(line({ xref: "paper", x0: 0, x1: 1, y0: y, y1: y }));
  if (x !== null) lines.push(line({ yref: "paper", y0: 0, y1: 1, x0: x, x1: x }));
  return lines;
}
