// The Markdown that a model writes, as elements, for the views of runs and of records. Nothing of it becomes markup
// of the page's own: its HTML stays visible text, its pictures become links, and the sanitiser goes over whatever the
// parser has made.

import { copyButton, make } from "./dom.js";
import { Marked } from "./vendor/marked.js";
import "./vendor/purify.js";

const TAGS = [
  "a",
  "blockquote",
  "br",
  "code",
  "del",
  "em",
  "h1",
  "h2",
  "h3",
  "h4",
  "h5",
  "h6",
  "hr",
  "li",
  "ol",
  "p",
  "pre",
  "strong",
  "table",
  "tbody",
  "td",
  "th",
  "thead",
  "tr",
  "ul",
];
const ATTRIBUTES = ["href", "start", "class", "align"];
const purify = globalThis.DOMPurify;
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text) => text.replace(/[&<>"']/g, (character) => escapes[character]);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    // A picture would be fetched from any address that a model, or whoever misled it, chooses.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "\u2611 " : "\u2610 "),
  },
});

/** Sanitised elements of a piece of Markdown that the lexer has been through. */
function elementsOf(tokens) {
  const fragment = purify.sanitize(marked.parser(tokens), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll("a")) {
    // The sanitiser has removed its address.
    if (!link.hasAttribute("href")) link.replaceWith(...link.childNodes);
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = make("div", { className: "table", role: "region", "aria-label": "Table" });
    frame.tabIndex = 0;
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) codeBlock(pre);
  return fragment;
}

/** Gives a code block a line with its language and a button that copies it. */
function codeBlock(pre) {
  const code = pre.querySelector("code");
  const language = /language-([\w+#-]{1,20})/.exec(code?.className ?? "")?.[1] ?? "";
  const frame = make(
    "div",
    { className: "code" },
    make(
      "div",
      { className: "code-head" },
      make("span", {}, language),
      copyButton("Copy code", () => pre.textContent.trimEnd()),
    ),
  );
  pre.replaceWith(frame);
  pre.tabIndex = 0;
  frame.append(pre);
}

/** Markdown that may grow: only the blocks that change are made anew. */
export class MarkdownView {
  #blocks = [];
  #text;

  constructor(text = "") {
    this.element = make("div", { className: "markdown" });
    this.update(text);
  }

  /** Shows this text instead. */
  update(text) {
    if (text === this.#text) return;
    this.#text = text;
    const tokens = marked.lexer(text);
    let same = 0;
    while (same < this.#blocks.length && this.#blocks[same].raw === tokens[same]?.raw) same += 1;
    for (const { element } of this.#blocks.splice(same)) element.remove();
    for (const token of tokens.slice(same)) {
      const element = make("div", { className: "block" });
      element.append(elementsOf([token]));
      this.#blocks.push({ raw: token.raw, element });
      this.element.append(element);
    }
  }
}
