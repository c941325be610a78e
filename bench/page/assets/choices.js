"use strict";
// What the reader chooses: first a panel (all of whose points can be compared), then which of its points to show.

const CHOICES = [
  ["device", "Device"],
  ["data", "Data"],
  ["model", "Model"],
  ["runs", "Runs on"],
  ["timed", "Timed"],
  ["batch", "Batch"],
];

const hasFront = (panel) => panel.points.filter(isCompared).length > 1;

// The panel that a state means, and for every choice what it offers, [value, name]. One choice narrows the next ones;
// a value that is not offered gives way to the first that leads to a front, else to the first.
function choosePanel(panels, state) {
  let left = panels;
  const offers = {};
  for (const [key] of CHOICES) {
    const names = new Map(left.map((panel) => panel.choices[key]));
    const first = left.find(hasFront) || left[0];
    const value = names.has(state[key]) ? state[key] : first.choices[key][0];
    offers[key] = { value, options: [...names] };
    left = left.filter((panel) => panel.choices[key][0] === value);
  }
  return { panel: left[0], offers };
}

// Methods and schedules of a panel's points, [value, name]; the unmerged model has neither.
function filtersOf(panel) {
  const merged = panel.points.filter((point) => !point.unmerged);
  return {
    methods: [...new Map(merged.map((point) => point.method))],
    schedules: [...new Map(merged.map((point) => point.schedule))],
  };
}

// The points that pass the filters; the unmerged model, which all others are compared with, always does.
function visiblePoints(panel, state) {
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  return panel.points.filter(
    (point) =>
      point.unmerged ||
      (!state.without_method.includes(point.method[0]) &&
        !state.without_schedule.includes(point.schedule[0]) &&
        words.every((word) => point.name.toLowerCase().includes(word))),
  );
}
