"use strict";
// Where to put the numbers of points: not on each other, nor on another point, as far as there is room.

// Plotly's names of positions, best first, with the offset from the point to the middle of the text.
const PLACES = [
  ["top right", 1, 1], ["top left", -1, 1], ["bottom right", 1, -1], ["bottom left", -1, -1],
  ["middle right", 1, 0], ["middle left", -1, 0], ["top center", 0, 1], ["bottom center", 0, -1],
];
const LETTER = 6.5; // width of a letter in pixels, at the size that plotTraces asks for
const LINE = 13;
const MARKER = 6; // half of one

// The position of every text, placed one after the other, for points { x, y, text } in pixels.
function labelPlaces(points) {
  const covers = (one, other) => Math.max(0, Math.min(one.right, other.right) - Math.max(one.left, other.left)) * Math.max(0, Math.min(one.top, other.top) - Math.max(one.bottom, other.bottom));
  const box = (x, y, across, up) => ({ left: x - across, right: x + across, bottom: y - up, top: y + up });
  const taken = points.map(({ x, y }) => box(x, y, MARKER, MARKER));
  return points.map(({ x, y, text }, own) => {
    if (!text) return PLACES[0][0];
    const across = (text.length * LETTER) / 2;
    const boxes = PLACES.map(([, right, up]) => box(x + right * (MARKER / 2 + across), y + up * (MARKER / 2 + LINE / 2), across, LINE / 2));
    const costs = boxes.map((one) => taken.reduce((sum, other, i) => (i === own ? sum : sum + covers(one, other)), 0));
    const best = costs.indexOf(Math.min(...costs));
    taken.push(boxes[best]);
    return PLACES[best][0];
  });
}

// Points in pixels, for a plot of a size in pixels whose axes reach as far as the points do.
function inPixels(points, axes, width, height) {
  const scaled = (name, size) => {
    const values = points.map((point) => point[name]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (value) => (high > low ? ((value - low) / (high - low)) * size : size / 2);
  };
  const [across, up] = [scaled(axes.x.value, width), scaled(axes.y.value, height)];
  return points.map((point) => ({ x: (axes.x.reversed ? -1 : 1) * across(point[axes.x.value]), y: up(point[axes.y.value]) }));
}
