// Helpers to build elements, and the dialog and the announcer that all views share. Text is only ever set as text,
// never as markup.

import { COPIED_MS } from "./limits.js";

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element. `props` are properties (`className`, `onclick`), or attributes if their name has
 * a dash or is `role` or `for`; `undefined`, `null` and `false` are left out.
 * @param {string} tag
 * @param {object} [props]
 * @param {...(Node|string|undefined|null|false)} children
 * @returns {HTMLElement}
 */
export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child || child === ""));
  return element;
}

/**
 * Gives `parent` these children. One that stays in its place is not touched, so that neither the focus on it nor a
 * click that has begun is lost.
 */
export function setChildren(parent, children) {
  const focused = document.activeElement;
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  // An element that was moved has lost the focus.
  if (parent.contains(focused)) focused.focus({ preventScroll: true });
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  send: "M12 19V5M6 11l6-6 6 6",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.500 9.500h.01",
  fresh: "M12 20h8M4 20l1-4L16 5l3 3L8 19z",
  forget: "M5 7h14M10 7V5h4v2M7 7l1 13h8l1-13M10.500 11v5M13.500 11v5",
  copy: "M9 9h10v11H9zM5 15V4h10",
  done: "M5 12l5 5 9-10",
  again: "M5 12a7 7 0 1 0 2.500-5.400M5 4v4h4",
  tool: "M14 6a4 4 0 0 0 5 5l-9 9-3-3 9-9",
  thought: "M9 18h6M10 21h4M12 3a6 6 0 0 0-3.500 10.800V15h7v-1.200A6 6 0 0 0 12 3z",
};

/** A drawing of one path on a square of `size` units; `attributes` are those of the `svg`. */
export function drawing(size, d, attributes) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", d);
  svg.append(path);
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  return svg;
}

/** An icon, which screen readers pass over. */
export function icon(name) {
  return drawing(24, ICONS[name], { class: "icon", "aria-hidden": "true" });
}

/** A button with a word on it. */
export function button(className, label, onclick) {
  return make("button", { type: "button", className, onclick }, label);
}

/** A button that shows only a drawing. */
export function iconButton(name, label, onclick) {
  return make(
    "button",
    { type: "button", className: "icon-button", "aria-label": label, title: label, onclick },
    icon(name),
  );
}

/** Has a screen reader say this. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** A button that copies what `text()` returns, and says so for a moment. */
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    await copy(text());
    button.replaceChildren(icon("done"));
    announce("Copied");
    setTimeout(() => button.replaceChildren(icon("copy")), COPIED_MS);
  });
  button.classList.add("copy");
  return button;
}

async function copy(text) {
  // Browsers give a clipboard only to pages from this machine or over TLS; elsewhere the old command still copies.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = make("textarea", { value: text, className: "unseen" });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/**
 * Asks before something that cannot be undone.
 * @returns {Promise<boolean>}
 */
export function confirmed(title, text, yes) {
  const dialog = byId("confirm-dialog");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  return new Promise((resolve) => {
    const end = (answer) => {
      dialog.onclose = null;
      if (dialog.open) dialog.close();
      resolve(answer);
    };
    byId("confirm-yes").onclick = () => end(true);
    byId("confirm-no").onclick = () => end(false);
    dialog.onclose = () => end(false);
    dialog.showModal();
  });
}
