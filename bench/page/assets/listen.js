"use strict";
// A sound, its filterbank as the model sees it, and the tokens that methods make of it, block by block.

const SCALE = 2; // pixels of a drawing of merges per frame and mel bin
const MOVED = "#56B4E9";
const POINTED = "#F0E442";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function drawFilterbank(canvas, fbank, shape, colours) {
  const [frames, mels] = [shape.num_frames, shape.num_mel_bins];
  canvas.width = frames;
  canvas.height = mels;
  const image = new ImageData(frames, mels);
  for (let frame = 0; frame < frames; frame += 1) {
    for (let mel = 0; mel < mels; mel += 1) {
      const to = 4 * ((mels - 1 - mel) * frames + frame);
      image.data.set(colours.subarray(3 * fbank[frame * mels + mel], 3 * fbank[frame * mels + mel] + 3), to);
      image.data[to + 3] = 255;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Left, top, width and height of a patch's own cell, in frames and mel bins, low frequencies below.
function cellOf(shape, patch) {
  const [row, column] = [Math.floor(patch / shape.grid[1]), patch % shape.grid[1]];
  const left = column * shape.tstride + (shape.patch_size - shape.tstride) / 2;
  const below = row * shape.fstride + (shape.patch_size - shape.fstride) / 2;
  return [left, shape.num_mel_bins - below - shape.fstride, shape.tstride, shape.fstride].map((value) => value * SCALE);
}

// groups, moved: for every patch. Dropped patches stay empty; a line separates two tokens.
function drawGroups(canvas, cells, shape, colours, groups, moved, pointed) {
  canvas.width = shape.num_frames * SCALE;
  canvas.height = shape.num_mel_bins * SCALE;
  const pen = canvas.getContext("2d");
  const columns = shape.grid[1];
  groupMeans(cells, groups).forEach((mean, patch) => {
    if (mean === null) return;
    const at = 3 * Math.round(mean);
    pen.fillStyle = `rgb(${colours[at]} ${colours[at + 1]} ${colours[at + 2]})`;
    pen.fillRect(...cellOf(shape, patch));
  });
  const sides = (patch, differs, colour, width) => {
    const [left, top, wide, high] = cellOf(shape, patch);
    pen.fillStyle = colour;
    if ((patch + 1) % columns && differs(patch + 1)) pen.fillRect(left + wide - width / 2, top, width, high);
    if (patch + columns < groups.length && differs(patch + columns)) pen.fillRect(left, top - width / 2, wide, width);
  };
  groups.forEach((group, patch) => sides(patch, (other) => groups[other] !== group, "rgba(255, 255, 255, 0.75)", 1.5));
  const frame = (chosen, colour) => {
    pen.strokeStyle = colour;
    pen.lineWidth = 3;
    groups.forEach((_, patch) => {
      const [left, top, wide, high] = cellOf(shape, patch);
      if (chosen(patch)) pen.strokeRect(left + 2, top + 2, wide - 4, high - 4);
    });
  };
  frame((patch) => moved[patch], MOVED);
  if (pointed !== null && pointed >= 0) frame((patch) => groups[patch] === pointed, POINTED);
}

// The patch under a pointer, null where there is none.
function patchAt(canvas, shape, event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * shape.num_frames - (shape.patch_size - shape.tstride) / 2;
  const y = (1 - (event.clientY - box.top) / box.height) * shape.num_mel_bins - (shape.patch_size - shape.fstride) / 2;
  const [row, column] = [Math.floor(y / shape.fstride), Math.floor(x / shape.tstride)];
  const inside = row >= 0 && row < shape.grid[0] && column >= 0 && column < shape.grid[1];
  return inside ? row * shape.grid[1] + column : null;
}

// The patch that a key leads to, high frequencies above; null for leaving, undefined for any other key.
function nextPatch(shape, patch, key) {
  const [rows, columns] = shape.grid;
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
  if (key === "Escape") return null;
  if (!(key in steps)) return undefined;
  if (patch === null) return 0;
  const row = Math.floor(patch / columns) + steps[key][0];
  const column = (patch % columns) + steps[key][1];
  return Math.min(rows - 1, Math.max(0, row)) * columns + Math.min(columns - 1, Math.max(0, column));
}

const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;

const heardText = (heard) => heard.map(([label, score]) => `${label} ${score.toFixed(2)}`).join(", ");

// One method at one r after one block: a picture and what became of the tokens.
function methodFigure(method, sound, shape, colours, state) {
  const run = method.runs.find((one) => one.r === state.r);
  const title = element("strong", {}, method.label);
  if (run.why) return element("figure", {}, element("figcaption", {}, title, ` cannot: ${run.why}`));
  const ofPatches = (list) => list.slice(shape.num_prefix_tokens);
  const groups = ofPatches(groupsAfter(run.pairs, shape.num_tokens, state.block));
  const moved = ofPatches(movedAt(run.pairs, shape.num_tokens, state.block));
  const kept = groups.filter((group) => group >= 0);
  const tokens = new Set(kept).size;
  const dropped = groups.length - kept.length;
  const left = `${groups.length} patches in ${tokens} tokens${dropped ? `, ${dropped} dropped` : ""}`;
  const canvas = element("canvas", { id: `merges-${method.method}`, role: "img", tabindex: "0", "aria-label": `${method.label} after block ${state.block}: ${left}. Arrow keys go from patch to patch.` });
  const under = element("span", { class: "under", "aria-live": "polite" });
  const draw = (pointed) => drawGroups(canvas, sound.cells, shape, colours, groups, moved, pointed);
  let at = null; // the patch that is pointed at
  const show = (patch) => {
    at = patch;
    const group = patch === null ? -1 : groups[patch];
    under.textContent = group >= 0 ? ` Here: a token of ${counted(groups.filter((other) => other === group).length, "patch", "patches")}.` : patch === null ? "" : " Here: dropped.";
    draw(group);
  };
  const point = (event) => show(patchAt(canvas, shape, event));
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => show(null));
  canvas.addEventListener("blur", () => show(null));
  canvas.addEventListener("keydown", (event) => {
    const patch = nextPatch(shape, at, event.key);
    if (patch === undefined) return;
    event.preventDefault();
    show(patch);
  });
  draw(null);
  const caption = element("figcaption", { title: method.summary }, title, `: ${left}; in the end it hears ${heardText(run.heard)}.`, under);
  return element("figure", {}, canvas, caption);
}

function drawMerges(place, data, state, colours) {
  const sound = data.sounds[state.sound] || data.sounds[0];
  const shown = sound.methods.filter((method) => state.merging.includes(method.method));
  fill(place, ...(shown.length ? shown.map((method) => methodFigure(method, sound, data.shape, colours, state)) : [element("p", { class: "soft" }, "Tick a method.")]));
}
