"use strict";
// The table of what the plot shows: heads sort, names choose.

function drawTable(place, panel, points, words, state, marks, { sort, choose }) {
  const columns = columnsOf(panel, marks);
  const standing = new Map(points.map((point, i) => [point.id, words[i]]));
  const sorted = columns.find((column) => column.key === state.sort);
  const heads = columns.map(({ key, head }) => {
    const direction = state.sort !== key ? "none" : state.down ? "descending" : "ascending";
    const arrow = { none: "", ascending: " ▲", descending: " ▼" }[direction];
    const button = element("button", { type: "button", id: `sort-${key}`, onclick: () => sort(key) }, head, arrow);
    return element("th", { scope: "col", "aria-sort": direction }, button);
  });
  const front = panel.points.some(isCompared);
  const rows = sortPoints(points, sorted, state.down).map((point) => {
    const word = standing.get(point.id);
    const chosen = point.id === state.point;
    const name = element("button", { type: "button", id: `point-${point.id}`, "aria-pressed": String(chosen), onclick: () => choose(point.id) }, point.name);
    return element(
      "tr",
      { class: [chosen ? "chosen" : "", word === "front" ? "front" : "", word === "disturbed" ? "disturbed" : ""].join(" ").trim() || null },
      element("th", { scope: "row" }, name),
      ...columns.map(({ text }) => element("td", {}, text(point))),
      ...(front ? [element("td", { class: "words" }, word || "–")] : []),
    );
  });
  const corner = element("th", { scope: "col" }, element("button", { type: "button", id: "sort-none", title: "In the order of the report", onclick: () => sort("") }, "Configuration"));
  const last = front ? [element("th", { scope: "col", class: "words" }, "Pareto")] : [];
  fill(place, element("thead", {}, element("tr", {}, corner, ...heads, ...last)), element("tbody", {}, ...rows));
}
