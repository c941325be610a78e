"use strict";
// The records behind a point: what was asked and measured, on which machine, with which versions.

function factsOf(facts, record) {
  const pairs = facts.pairs[record];
  const found = [];
  for (let i = 0; i < pairs.length; i += 2) {
    const [heading, name, meaning] = facts.names[pairs[i]];
    found.push({ heading, name, meaning, value: facts.values[pairs[i + 1]] });
  }
  return found;
}

function factTable(rows) {
  const body = rows.map(({ name, value, meaning }) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value), element("td", { class: "meaning" }, meaning)),
  );
  return element("div", { class: "wide", tabindex: "0" }, element("table", { class: "facts" }, element("tbody", {}, ...body)));
}

function recordParts(facts, record, what, open) {
  const all = factsOf(facts, record);
  const headings = [...new Set(all.map((fact) => fact.heading))];
  return element(
    "article",
    {},
    element("h4", {}, what),
    element("p", { class: "soft" }, "Record ", element("code", {}, facts.paths[record])),
    ...headings.map((heading, i) =>
      element("details", { open: open && i === 0 }, element("summary", {}, heading), factTable(all.filter((fact) => fact.heading === heading))),
    ),
  );
}

// Name the machine and the versions in a line, and put everything else below.
function drawRecord(place, point, facts, score, word, meanings) {
  if (!point) {
    fill(place, element("p", { class: "soft" }, "Choose a point in the plot, or a name in the table."));
    return;
  }
  const records = [[point.speed_record, "Speed"], [point.quality_record, "Quality"]].filter(([record]) => record !== null);
  const madeWith = [...new Set(records.map(([record]) => facts.values[facts.made_with[record]]))];
  const said = [point.no_speed, point.no_score].filter((text) => text !== "not measured");
  fill(
    place,
    element("h3", {}, point.name),
    element("p", {}, [pointText(point, score), word && `Pareto: ${word}`, meanings[point.status] && `${point.status}: ${meanings[point.status]}`, ...said].filter(Boolean).join(". "), "."),
    ...madeWith.map((line) => element("p", {}, `Measured with ${line}.`)),
    element("div", { class: "records" }, ...records.map(([record, what]) => recordParts(facts, record, what, false))),
  );
}
