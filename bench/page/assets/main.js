"use strict";
// The page: one state, kept in the address; whatever changes it redraws all that depends on it.

const DATA = JSON.parse(byId("records").textContent);
const SOUNDS = JSON.parse(byId("sounds").textContent);
const COLOUR_MAP = bytesOf(SOUNDS.colours);
const DEFAULTS = {
  device: "",
  data: "",
  model: "",
  runs: "",
  timed: "",
  batch: "",
  without_method: [],
  without_schedule: [],
  find: "",
  axes: "absolute",
  loss: 0.005,
  speed: 1.5,
  sort: "",
  down: false,
  point: "",
  sound: 0,
  merging: SOUNDS.shown,
  r: SOUNDS.removed[Math.floor(SOUNDS.removed.length / 2)],
  block: SOUNDS.shape.depth,
};
let state = readAddress(location.hash, DEFAULTS);
let view = null; // the panel, the points that are shown of it, and their standings
let writing = 0; // the timer of the address

const OF_SOUNDS = ["sound", "merging", "r", "block"];
const ADDRESS_AFTER = 100; // ms: a slider that is drawn along would write it more often than browsers allow

function change(changes) {
  state = { ...state, ...changes };
  clearTimeout(writing);
  writing = setTimeout(() => history.replaceState(null, "", writeAddress(state, DEFAULTS) || "#"), ADDRESS_AFTER);
  if (Object.keys(changes).every((key) => OF_SOUNDS.includes(key))) drawSound();
  else draw();
}

function draw() {
  const { panel, offers } = choosePanel(DATA.panels, state);
  const points = visiblePoints(panel, state);
  view = { panel, points, words: standings(points) };
  drawChoices(offers);
  drawPoints();
  drawSound();
}

function drawChoices(offers) {
  fill(byId("choices"), ...CHOICES.map(([key, label]) => selectField(`choice-${key}`, label, offers[key], (value) => change({ [key]: value, point: "" }))));
  const { methods, schedules } = filtersOf(view.panel);
  const boxes = (key, legend, options) =>
    checkboxes(key, legend, options, (value) => !state[key].includes(value), (value, shown) => change({ [key]: withValue(state[key], value, !shown) }));
  fill(byId("filters"), boxes("without_method", "Methods", methods), boxes("without_schedule", "Schedules", schedules));
}

function drawPoints() {
  const { panel, points, words } = view;
  if (window.Plotly) drawPlot(byId("plot"), panel, points, words, state, DATA.colours);
  const count = words.filter((word) => word === "front").length;
  const relative = panel.points.some(hasSpeedAndQuality) ? `, ${count} on the front` : "";
  byId("count").textContent = `${points.length} of ${panel.points.length} points shown${relative}.`;
  byId("plot").setAttribute("aria-label", `Plot of ${points.length} points${relative}. Arrow keys go from point to point.`);
  drawTable(byId("table"), panel, points, words, state, DATA.marks, { sort: sortBy, choose: (id) => change({ point: id }) });
  drawReadings();
  const chosen = panel.points.find((point) => point.id === state.point);
  const word = words[points.indexOf(chosen)] || "";
  byId("said").textContent = chosen ? `${chosen.name}: ${pointText(chosen, panel.score)}${word ? `; ${word}` : ""}` : "";
  byId("to-record").hidden = !chosen;
  const shown = JSON.stringify([panel.choices, chosen && chosen.id, word]);
  if (byId("record").dataset.shown !== shown) drawRecord(byId("record"), chosen, DATA.facts, panel.score, word, DATA.meanings);
  byId("record").dataset.shown = shown; // what was opened in it stays open
  fill(byId("notes"), ...[`${panel.facts}.`, ...panel.notes].map((note) => element("p", {}, note)));
}

const hasSpeedAndQuality = (point) => point.throughput !== null && point.score !== null;

function sortBy(key) {
  if (key === "") change({ sort: "", down: false });
  else if (key !== state.sort) change({ sort: key, down: key !== "r" });
  else change({ down: !state.down });
}

function drawReadings() {
  const { panel, points } = view;
  for (const id of ["readings", "about-front"]) byId(id).hidden = !panel.points.some(hasSpeedAndQuality);
  const tell = (place, point) => {
    const name = point && element("button", { type: "button", class: "link", id: `${place}-point`, onclick: () => change({ point: point.id }) }, point.name);
    fill(byId(place), ...(point ? [name, `: ${pointText(point, panel.score)}`] : ["none of the points shown"]));
  };
  tell("fastest", fastestWithin(points, state.loss));
  tell("best", bestAtSpeed(points, state.speed));
  for (const word of document.querySelectorAll(".score-word")) word.textContent = panel.score;
}

function drawSound() {
  const sound = SOUNDS.sounds[state.sound] || SOUNDS.sounds[0];
  const place = byId("sound");
  if (place.dataset.sound !== sound.name) {
    place.dataset.sound = sound.name;
    byId("player").src = `data:audio/wav;base64,${sound.wav}`;
    drawFilterbank(byId("filterbank"), bytesOf(sound.fbank), SOUNDS.shape, COLOUR_MAP);
    byId("sound-name").textContent = `“${sound.name}”; without merging the model hears ${heardText(sound.heard)}.`;
    byId("padding").hidden = !sound.padded;
  }
  const options = SOUNDS.sounds.map((one, i) => [String(i), one.name]);
  const choice = options.length > 1 ? [selectField("choose-sound", "Sound", { value: String(state.sound), options }, (value) => change({ sound: Number(value) }))] : [];
  const methods = sound.methods.map((method) => [method.method, method.label]);
  fill(byId("sound-choices"), ...choice, checkboxes("merging", "Methods side by side", methods, (name) => state.merging.includes(name), (name, shown) => change({ merging: withValue(state.merging, name, shown) })));
  byId("r-value").textContent = `${state.r} tokens`;
  byId("block-value").textContent = state.block ? `after block ${state.block} of ${SOUNDS.shape.depth}` : "before the first block";
  drawMerges(byId("merges"), SOUNDS, state, COLOUR_MAP);
}

// Inputs that are in the page from the start.
function setUp() {
  const { removed, shape } = SOUNDS;
  if (!removed.includes(state.r)) state.r = DEFAULTS.r;
  state.block = Math.min(shape.depth, Math.max(0, Math.round(state.block)));
  Object.assign(byId("r"), { min: 0, max: removed.length - 1, value: removed.indexOf(state.r) });
  Object.assign(byId("block"), { min: 0, max: shape.depth, value: state.block });
  for (const key of ["find", "loss", "speed", "axes"]) byId(key).value = state[key];
}

function listen() {
  byId("r").addEventListener("input", (event) => change({ r: SOUNDS.removed[Number(event.target.value)] }));
  byId("block").addEventListener("input", (event) => change({ block: Number(event.target.value) }));
  byId("find").addEventListener("input", (event) => change({ find: event.target.value }));
  byId("axes").addEventListener("change", (event) => change({ axes: event.target.value }));
  for (const key of ["loss", "speed"]) {
    byId(key).addEventListener("input", (event) => Number.isFinite(event.target.valueAsNumber) && change({ [key]: event.target.valueAsNumber }));
  }
  byId("reset").addEventListener("click", () => {
    state = { ...DEFAULTS };
    setUp();
    change(DEFAULTS);
  });
  const toRecord = () => {
    byId("record").scrollIntoView();
    byId("record").focus();
  };
  byId("to-record").addEventListener("click", toRecord);
  byId("plot").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && state.point) toRecord();
    const found = event.key === "Escape" ? { id: "" } : neighbour(view.panel, view.points, state, event.key);
    if (!found) return;
    event.preventDefault();
    change({ point: found.id });
  });
  byId("player").addEventListener("timeupdate", (event) => {
    byId("playhead").style.left = `${(100 * event.target.currentTime) / (SOUNDS.shape.num_frames * SOUNDS.shape.frame_seconds)}%`;
  });
  addEventListener("hashchange", () => {
    state = readAddress(location.hash, DEFAULTS);
    setUp();
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

async function loadPlotly() {
  const packed = new Blob([bytesOf(byId("plotly").textContent)]).stream();
  const code = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(element("script", {}, code));
  byId("plot").replaceChildren();
  drawPoints();
  byId("plot").on("plotly_click", ({ points }) => points[0].customdata && change({ point: points[0].customdata }));
}

setUp();
listen();
draw();
loadPlotly().catch((error) => {
  byId("plot").textContent = `The plot needs a browser of 2023 or later (${error.message}); the table has all that it would show.`;
});
