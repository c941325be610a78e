"use strict";
// The state of the page as the part of its address behind #: what differs from the defaults, and nothing else.

function readAddress(hash, defaults) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = {};
  for (const [key, usual] of Object.entries(defaults)) {
    if (!given.has(key)) state[key] = usual;
    else if (Array.isArray(usual)) state[key] = given.getAll(key).filter((value) => value !== "");
    else if (typeof usual === "boolean") state[key] = given.get(key) === "yes";
    else if (typeof usual === "number") state[key] = Number.isFinite(parseFloat(given.get(key))) ? parseFloat(given.get(key)) : usual;
    else state[key] = given.get(key);
  }
  return state;
}

function writeAddress(state, defaults) {
  const given = new URLSearchParams();
  for (const [key, usual] of Object.entries(defaults)) {
    const value = state[key];
    if (JSON.stringify(value) === JSON.stringify(usual)) continue;
    if (Array.isArray(value)) (value.length ? value : [""]).forEach((one) => given.append(key, one));
    else if (typeof usual === "boolean") given.set(key, value ? "yes" : "no");
    else given.set(key, value);
  }
  const text = given.toString();
  return text ? `#${text}` : "";
}
