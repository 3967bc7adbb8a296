// Makes pictures into attachments of a prompt, scaled down until they fit into a frame. Called by prompts.js; knows
// nothing of the gateway but the formats that it takes.

import {
  ATTACHMENT_OVERHEAD_BYTES,
  PICTURE_EDGE_MAX,
  PICTURE_EDGE_MIN,
  PICTURE_FILE_MAX,
  PICTURE_NAME_MAX,
  PICTURE_QUALITY,
} from "./limits.js";

/** Formats that the gateway takes as they are. */
const FORMATS = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/**
 * Pictures as attachments of `agent`, scaled down until all of them have no more than `budget` bytes.
 * @param {File[]} files
 * @param {number} budget
 */
export function attachmentsOf(files, budget) {
  const share = Math.floor(budget / Math.max(1, files.length)) - ATTACHMENT_OVERHEAD_BYTES;
  return Promise.all(files.map((file) => attachmentOf(file, share)));
}

/**
 * A picture as an attachment of `agent`, scaled down if its base64 is more than `budget` bytes.
 * @param {File} file
 * @param {number} budget
 * @returns {Promise<{type: "image", mimeType: string, name: string, content: string}>}
 */
async function attachmentOf(file, budget) {
  const name = (file.name || "picture").slice(0, PICTURE_NAME_MAX);
  if (FORMATS.includes(file.type) && base64Length(file.size) <= budget) {
    return { type: "image", mimeType: file.type, name, content: await base64(file) };
  }
  if (file.size > PICTURE_FILE_MAX) throw new Error(`${name} is too large`);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Error(`${name} is no picture that this browser can read`);
  });
  try {
    const blob = await fitting(bitmap, budget);
    if (!blob) throw new Error(`${name} cannot be made small enough`);
    return { type: "image", mimeType: "image/jpeg", name, content: await base64(blob) };
  } finally {
    bitmap.close();
  }
}

/** The largest JPEG of it within the budget, or `undefined`. */
async function fitting(bitmap, budget) {
  let edge = Math.min(PICTURE_EDGE_MAX, Math.max(bitmap.width, bitmap.height));
  while (edge >= Math.min(PICTURE_EDGE_MIN, Math.max(bitmap.width, bitmap.height))) {
    const blob = await scaled(bitmap, edge);
    if (base64Length(blob.size) <= budget) return blob;
    // The size goes with the area; a little smaller still, so that two steps are mostly enough.
    edge = Math.floor(edge * Math.min(0.8, Math.sqrt(budget / base64Length(blob.size)) * 0.95));
  }
  return undefined;
}

function scaled(bitmap, edge) {
  const scale = Math.min(1, edge / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  // JPEG has no transparency: what is transparent would turn black, and dark text on it could not be read.
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error("no memory for the picture"))),
      "image/jpeg",
      PICTURE_QUALITY,
    );
  });
}

const base64Length = (bytes) => 4 * Math.ceil(bytes / 3);

/** Bytes in base64, as the gateway wants them. */
function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
