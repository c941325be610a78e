"use strict";
// The table of what the plot shows: heads sort, names choose.

const PARETO = 3; // index of the column Pareto, after r, speed-up and difference

function sortHead({ key, head, sorted }, state, sort) {
  if (!sorted) return element("th", { scope: "col", class: "words" }, head);
  const direction = state.sort !== key ? "none" : state.down ? "descending" : "ascending";
  const arrow = { none: "", ascending: " ▲", descending: " ▼" }[direction];
  const button = element("button", { type: "button", id: `sort-${key}`, onclick: () => sort(key) }, head, arrow);
  return element("th", { scope: "col", "aria-sort": direction }, button);
}

function drawTable(place, panel, points, words, state, marks, { sort, choose }) {
  const standing = new Map(points.map((point, i) => [point.id, words[i]]));
  const columns = columnsOf(panel, marks);
  const sorted = columns.find((column) => column.key === state.sort);
  if (panel.points.some(isCompared)) {
    columns.splice(PARETO, 0, { key: "pareto", head: "Pareto", sorted: null, text: (point) => standing.get(point.id) || "–" });
  }
  const corner = element("button", { type: "button", id: "sort-none", title: "In the order of the report", onclick: () => sort("") }, "Configuration");
  const heads = columns.map((column) => sortHead(column, state, sort));
  const rows = sortPoints(points, sorted, state.down).map((point) => {
    const chosen = point.id === state.point;
    const attributes = { type: "button", id: `point-${point.id}`, "aria-pressed": String(chosen), "aria-label": point.name, onclick: () => choose(point.id) };
    const cells = columns.map((column) => element("td", column.sorted ? {} : { class: "words" }, column.text(point)));
    const kinds = [chosen && "chosen", ["front", "disturbed"].find((word) => word === standing.get(point.id))].filter(Boolean);
    return element("tr", { class: kinds.join(" ") || null }, element("th", { scope: "row" }, element("button", attributes, point.row.replace(/ r\b/g, "\u00a0r"))), ...cells);
  });
  fill(place, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, corner), ...heads)), element("tbody", {}, ...rows));
}
