// Where a message is written: its text, which is kept as a draft, its pictures, hints for directives, the thinking
// level. Made by main.js; knows nothing of how a message is sent.

import { byId, icon, iconButton, make } from "./dom.js";
import { PICTURES_MAX, PROMPT_HEIGHT_MAX } from "./limits.js";
import { draft, thinking } from "./storage.js";

const LEVELS = ["off", "minimal", "low", "medium", "high", "xhigh"];
/** Directives and what they do, as the README lists them; hints for what is being typed. */
const DIRECTIVES = [
  ["/new", "begins a new conversation"],
  ["/stop", "stops what the agent is doing here"],
  ["/status", "says what the gateway and the agent are doing"],
  ["/think ", "sets how much the model thinks in this conversation"],
  ["/pause", "stops everything"],
  ["/resume", "lets everything run again"],
  ["/help", "lists these"],
];
const THINK_LEVELS = LEVELS.map((level) => [`/think ${level}`, ""]);

export class Composer {
  #onSubmit;
  #session = "main";
  /** Pictures to send: `{file, url}`. */
  #pictures = [];
  #field = byId("prompt");
  #hints = byId("hints");
  /** Index of the hint that Enter puts into the field. */
  #selected = 0;
  #isSending = false;

  /**
   * @param {(message: {session: string, text: string, thinking: string, files: File[]}) =>
   *   Promise<void>} onSubmit sends a message; what was written stays if it rejects, and its error is shown
   */
  constructor(onSubmit) {
    this.#onSubmit = onSubmit;
    byId("attach").append(icon("picture"));
    byId("submit").append(icon("send"));
    const options = LEVELS.map((level) => make("option", { value: level }, `Thinking: ${level}`));
    byId("thinking").append(make("option", { value: "" }, "Thinking: default"), ...options);
    this.#listen();
  }

  #listen() {
    const field = this.#field;
    byId("composer").onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    field.oninput = () => this.#onInput();
    field.onkeydown = (event) => this.#onKey(event);
    field.onblur = () => this.#showHints([]);
    field.onfocus = () => this.#showHints(this.#matchingHints());
    byId("thinking").onchange = ({ target }) => thinking.set(this.#session, target.value);
    byId("attach").onclick = () => byId("picker").click();
    byId("picker").onchange = ({ target }) => {
      this.#addPictures(target.files);
      target.value = "";
    };
    field.onpaste = (event) => {
      if (this.#addPictures(event.clipboardData.files)) event.preventDefault();
    };
    const main = byId("main");
    main.ondragover = (event) => {
      event.preventDefault();
      main.classList.add("dropping");
    };
    main.ondragleave = (event) => !main.contains(event.relatedTarget) && main.classList.remove("dropping");
    main.ondrop = (event) => {
      event.preventDefault();
      main.classList.remove("dropping");
      this.#addPictures(event.dataTransfer.files);
    };
  }

  /** Stores the draft once more; returns whether a reload of the page would lose nothing that was written. */
  saveDraft() {
    const text = this.#field.value;
    // An empty field is not stored: another tab may have a draft of this session.
    if (text) draft.set(this.#session, text);
    return this.#pictures.length === 0 && (text === "" || draft.get(this.#session) === text);
  }

  /** Opens another session, with its draft and thinking level. */
  open(session) {
    this.#session = session;
    this.#field.value = draft.get(session);
    byId("thinking").value = thinking.get(session);
    this.#fitHeight();
  }

  /** Puts a text into the field. */
  write(text) {
    this.#field.value = text;
    this.#onInput();
    this.#field.focus();
  }

  /** Shows a text below the field. */
  showNote(text) {
    byId("composer-note").textContent = text;
  }

  async #submit() {
    const session = this.#session;
    const typed = this.#field.value;
    const text = typed.trim();
    const pictures = [...this.#pictures];
    if (this.#isSending || (!text && pictures.length === 0)) return;
    this.#isSending = true;
    this.showNote(pictures.length > 0 ? "Preparing the pictures" : "");
    try {
      const files = pictures.map(({ file }) => file);
      await this.#onSubmit({ session, text, thinking: byId("thinking").value, files });
    } catch (error) {
      this.showNote(error.message);
      return;
    } finally {
      this.#isSending = false;
    }
    for (const { url } of pictures) URL.revokeObjectURL(url);
    this.#pictures = this.#pictures.filter((picture) => !pictures.includes(picture));
    this.#showPictures();
    this.#removeSent(session, typed);
  }

  /** Removes what was sent from the field or draft; what was added while its pictures were scaled stays. */
  #removeSent(session, typed) {
    const isOpen = session === this.#session;
    const now = isOpen ? this.#field.value : draft.get(session);
    if (!now.startsWith(typed)) return;
    const rest = now.slice(typed.length);
    if (!isOpen) {
      draft.set(session, rest);
      return;
    }
    this.#field.value = rest;
    this.#onInput();
  }

  #onInput() {
    draft.set(this.#session, this.#field.value);
    this.#fitHeight();
    this.#selected = 0;
    this.#showHints(this.#matchingHints());
  }

  #fitHeight() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, PROMPT_HEIGHT_MAX)}px`;
  }

  #onKey(event) {
    const hints = this.#hints.children;
    if (hints.length > 0 && ["ArrowDown", "ArrowUp"].includes(event.key)) {
      this.#selected = (this.#selected + (event.key === "ArrowDown" ? 1 : hints.length - 1)) % hints.length;
      this.#markHint();
    } else if (hints.length > 0 && event.key === "Escape") {
      this.#showHints([]);
    } else if (
      hints.length > 0 &&
      (event.key === "Tab" || event.key === "Enter") &&
      !event.shiftKey &&
      hints[this.#selected].dataset.text !== this.#field.value
    ) {
      this.write(hints[this.#selected].dataset.text);
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !isTouchScreen()) {
      this.#submit();
    } else {
      return;
    }
    event.preventDefault();
  }

  #matchingHints() {
    const text = this.#field.value.trimStart().toLowerCase();
    if (!text.startsWith("/") || text.includes("\n")) return [];
    return (text.startsWith("/think ") ? THINK_LEVELS : DIRECTIVES).filter(([name]) => name.startsWith(text));
  }

  #showHints(directives) {
    this.#hints.replaceChildren(
      ...directives.map(([name, what], index) =>
        make(
          "li",
          {
            id: `hint-${index}`,
            role: "option",
            "data-text": name,
            // Not at the click: until then the field would lose its focus and close the list.
            onpointerdown: (event) => {
              event.preventDefault();
              this.write(name);
            },
          },
          make("code", {}, name),
          make("span", {}, what),
        ),
      ),
    );
    this.#hints.hidden = directives.length === 0;
    this.#markHint();
  }

  #markHint() {
    [...this.#hints.children].forEach((hint, index) => {
      hint.setAttribute("aria-selected", index === this.#selected);
      if (index === this.#selected) hint.scrollIntoView({ block: "nearest" });
    });
    const selected = this.#hints.children[this.#selected];
    if (selected) this.#field.setAttribute("aria-activedescendant", selected.id);
    else this.#field.removeAttribute("aria-activedescendant");
  }

  /** Adds the pictures among the files; returns whether there were any. */
  #addPictures(files) {
    const images = [...files].filter(({ type }) => type.startsWith("image/"));
    for (const file of images.slice(0, PICTURES_MAX - this.#pictures.length)) {
      this.#pictures.push({ file, url: URL.createObjectURL(file) });
    }
    if (images.length > 0) this.#showPictures();
    if (files.length > images.length) this.showNote("Only pictures can be sent.");
    return images.length > 0;
  }

  #showPictures() {
    const list = byId("pictures");
    list.replaceChildren(
      ...this.#pictures.map((picture) =>
        make(
          "li",
          {},
          make("img", { src: picture.url, alt: picture.file.name || "Picture" }),
          iconButton("close", `Leave out ${picture.file.name || "the picture"}`, () => {
            URL.revokeObjectURL(picture.url);
            this.#pictures = this.#pictures.filter((other) => other !== picture);
            this.#showPictures();
          }),
        ),
      ),
    );
    list.hidden = this.#pictures.length === 0;
    this.showNote(this.#pictures.length === PICTURES_MAX ? `${PICTURES_MAX} pictures are the most.` : "");
  }
}

/** Whether Enter makes a new line, as it does everywhere on a touch screen. */
const isTouchScreen = () => matchMedia("(pointer: coarse) and (hover: none)").matches;
