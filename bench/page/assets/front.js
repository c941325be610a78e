"use strict";
// Which points are worth having, as in bench/report/pareto.py: throughput and quality, both to be maximised.

// Comparing a missing number must be false with everything, as it is with NaN but not with null.
const orNaN = (value) => (value === null ? NaN : value);

function isCompared(point) {
  return point.status !== "disturbed" && point.throughput !== null && point.score !== null;
}

function dominates(a, b) {
  const atLeast = a.throughput >= b.throughput && a.score >= b.score;
  return atLeast && (a.throughput > b.throughput || a.score > b.score);
}

function clearlyDominates(a, b) {
  const faster = orNaN(a.throughput_low) > orNaN(b.throughput_high);
  const better = orNaN(a.compared_low) > orNaN(b.compared_high);
  return dominates(a, b) && faster && better;
}

// How every point stands among these points: front, dominated, clearly dominated, disturbed, or empty where speed or
// quality is missing. A disturbed one is neither on the front nor does it dominate others.
function standings(points) {
  const compared = points.filter(isCompared);
  return points.map((point) => {
    if (point.status === "disturbed") return "disturbed";
    if (!isCompared(point)) return "";
    if (!compared.some((other) => dominates(other, point))) return "front";
    return compared.some((other) => clearlyDominates(other, point)) ? "clearly dominated" : "dominated";
  });
}
