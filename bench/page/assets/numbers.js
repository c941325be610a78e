"use strict";
// Numbers and names as people read them, and the columns of the table.

// A number with a real minus sign; zero has no sign.
function numberText(value, digits, signed = false) {
  if (value === null || value === undefined) return "";
  const text = Math.abs(value).toFixed(digits);
  if (!/[1-9]/.test(text)) return text;
  return (value < 0 ? "−" : signed ? "+" : "") + text;
}

function intervalText(point, name, digits, signed = false) {
  const [value, low, high] = ["", "_low", "_high"].map((end) => numberText(point[name + end], digits, signed));
  return low && high ? `${value} [${low}, ${high}]` : value;
}

// Plotly interprets tags in its texts.
const plotText = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const capital = (word) => (word === "mAP" ? word : word[0].toUpperCase() + word.slice(1));

// The columns of a panel's table that hold anything: key of the address, head, what is sorted by, and what is shown;
// what matters most comes first, as a phone shows no more.
function columnsOf(panel, marks) {
  const speed = (point, text) => text || point.no_speed;
  const score = (point, text) => text || point.no_score;
  const timed = (point, text) => text && (marks[point.status] || "") + text; // an empty text stays empty
  const all = [
    ["r", "r", "r", (p) => numberText(p.r, 0) || "–"],
    ["speedup", "Speed-up", "speed", (p) => speed(p, timed(p, intervalText(p, "speed", 2)))],
    ["difference", `Difference in ${panel.score}`, "delta_score", (p) => score(p, intervalText(p, "delta_score", 4, true))],
    ["throughput", "Clips/s", "throughput", (p) => speed(p, timed(p, numberText(p.throughput, 1)))],
    ["latency", "Latency (ms)", "latency", (p) => speed(p, timed(p, numberText(p.latency, 1)))],
    ["score", capital(panel.score), "score", (p) => score(p, intervalText(p, "score", 3))],
    ["oracle", "Of oracle", "speedup_slice", (p) => timed(p, numberText(p.speedup_slice, 2))],
    ["tokens", "Tokens left", "tokens_out", (p) => numberText(p.tokens_out, 0)],
    ["macs", "MACs (G)", "macs_per_clip", (p) => (p.macs_per_clip === null ? "" : numberText(p.macs_per_clip / 1e9, 2))],
  ];
  return all
    .map(([key, head, sorted, text]) => ({ key, head, sorted, text }))
    .filter((column) => panel.points.some((point) => point[column.sorted] !== null));
}

// Points in the order of a column, missing ones last either way; in the order of the report where there is none.
function sortPoints(points, column, down) {
  if (!column) return points;
  const known = points.filter((point) => point[column.sorted] !== null);
  const missing = points.filter((point) => point[column.sorted] === null);
  const sign = down ? -1 : 1;
  return [...known.sort((a, b) => sign * (a[column.sorted] - b[column.sorted])), ...missing];
}

// What is known about a point, and the same in one line.
function pointParts(point, score) {
  const parts = [];
  if (point.throughput !== null) parts.push(`${numberText(point.throughput, 1)} clips/s`);
  if (point.speed !== null) parts.push(`${intervalText(point, "speed", 2)} times as fast`);
  if (point.score !== null) parts.push(`${score} ${numberText(point.score, 3)}`);
  const itself = point.unmerged && point.delta_score === 0; // what differences are over
  if (point.delta_score !== null && !itself) parts.push(`difference ${intervalText(point, "delta_score", 4, true)}`);
  return parts;
}

const pointText = (point, score) => pointParts(point, score).join(", ");
