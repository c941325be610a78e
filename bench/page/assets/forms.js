"use strict";
// Elements of forms. What comes from files enters as text, never as HTML.

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Replace the children of an element; the one that had the focus keeps it, found by its id.
function fill(place, ...children) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.replaceChildren(...children);
  if (focused && byId(focused)) byId(focused).focus({ preventScroll: true });
}

// A labelled list to choose one of; where there is only one, there is nothing to choose.
function selectField(id, label, { value, options }, changed) {
  if (options.length < 2) {
    const only = element("output", { id }, ...options.map(([, name]) => name));
    return element("label", { class: "field", for: id }, element("span", {}, label), only);
  }
  const select = element(
    "select",
    { id, onchange: (event) => changed(event.target.value) },
    ...options.map(([key, name]) => element("option", { value: key }, name)),
  );
  select.value = value;
  return element("label", { class: "field", for: id }, element("span", {}, label), select);
}

// Boxes to tick; `ticked` tells which of them are ticked.
function checkboxes(id, legend, options, ticked, changed) {
  return element(
    "fieldset",
    { class: "boxes" },
    element("legend", {}, legend),
    ...options.map(([key, name], i) => {
      const box = element("input", { type: "checkbox", id: `${id}-${i}`, onchange: (event) => changed(key, event.target.checked) });
      box.checked = ticked(key);
      return element("label", { for: `${id}-${i}` }, box, " ", name);
    }),
  );
}

// A list with a value added or removed.
const withValue = (list, value, there) => (there ? [...new Set([...list, value])] : list.filter((one) => one !== value));
