// An append-only file of JSON records, one a line, each with its checksum. Knows nothing of what they mean.
// A record is durable when `append` returns. Of what was being written at a power cut any part may be there, in any
// order: each record says how much of the file was durable when it was written, so that a hole behind that is known
// to be no damage, and is cut off with what follows it.
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync
} from 'node:fs'
import { join } from 'node:path'

const FILE = 'journal'
const TEMPORARY = 'journal.new'
const DAMAGED = 'journal.damaged-'
const SUM_CHARS = 16
/** Member of each record: bytes of the file that were durable before it. */
const DURABLE = 'd'

const sum = text => createHash('sha256').update(text).digest('hex').slice(0, SUM_CHARS)
const encode = (record, durable) => {
  const text = JSON.stringify({ ...record, [DURABLE]: durable })
  return Buffer.from(`${sum(text)} ${text}\n`)
}

/** The record of a line, or undefined if it is not one of ours. */
function decode(line) {
  const text = line.toString('utf8', SUM_CHARS + 1)
  if (line[SUM_CHARS] !== 32 || line.toString('latin1', 0, SUM_CHARS) !== sum(text)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Reads lines up to the first bad one: the records, where they end, and whether anything good follows. */
function scan(bytes) {
  const records = []
  let from = 0
  let end = 0
  let isBad = false
  while (from < bytes.length) {
    const at = bytes.indexOf(10, from)
    const record = at < 0 ? undefined : decode(bytes.subarray(from, at))
    from = at < 0 ? bytes.length : at + 1
    if (record === undefined) isBad = true
    else if (isBad && record[DURABLE] > end) return { records, end, isDamaged: true }
    else if (!isBad) {
      delete record[DURABLE]
      records.push(record)
      end = from
    }
  }
  return { records, end, isDamaged: false }
}

function syncFolder(dir) {
  const fd = openSync(dir, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function writeAll(fd, bytes) {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
}

/** The journal of one folder. */
export class Journal {
  #dir
  #fd
  #isSynced = true
  /** Bytes of the file that are durable. */
  #durable = 0
  /** Bytes in the file. */
  size = 0

  /** @param {string} dir must exist */
  constructor(dir) {
    this.#dir = dir
  }

  /**
   * Reads the file and opens it for appending.
   * @returns {{records: object[], cutBytes: number, damaged?: string}} the records; how much was cut from the
   *   end; and the name of a damaged file that was set aside and has not been replaced since
   */
  open() {
    rmSync(join(this.#dir, TEMPORARY), { force: true })
    const path = join(this.#dir, FILE)
    if (!existsSync(path)) return { records: [], cutBytes: 0, damaged: this.#lastDamaged() }
    const bytes = readFileSync(path)
    const { records, end, isDamaged } = scan(bytes)
    // Without one good record it is no torn file: the first is written before the file gets its name.
    if (isDamaged || !records.length) {
      const aside = `${DAMAGED}${Date.now()}`
      renameSync(path, join(this.#dir, aside))
      syncFolder(this.#dir)
      return { records: [], cutBytes: 0, damaged: aside }
    }
    this.#fd = openSync(path, 'a', 0o600)
    if (end < bytes.length) ftruncateSync(this.#fd, end)
    // What was read need not be durable: its writer may have been killed before its sync.
    fsyncSync(this.#fd)
    this.size = end
    this.#durable = end
    return { records, cutBytes: bytes.length - end }
  }

  /** Name of the file that was set aside last, if there is one. */
  #lastDamaged() {
    return readdirSync(this.#dir)
      .filter(name => name.startsWith(DAMAGED))
      .sort()
      .pop()
  }

  /** Whether there is a file to append to. */
  get isOpen() {
    return this.#fd !== undefined
  }

  /**
   * Adds a record at the end.
   * @param {object} record
   * @param {{durable?: boolean}} options `durable: false` when it may be lost, or `sync` follows
   */
  append(record, { durable = true } = {}) {
    const bytes = encode(record, this.#durable)
    writeAll(this.#fd, bytes)
    this.size += bytes.length
    this.#isSynced = false
    if (durable) this.sync()
  }

  /** Makes everything appended so far durable. */
  sync() {
    if (this.#isSynced) return
    fdatasyncSync(this.#fd)
    this.#isSynced = true
    this.#durable = this.size
  }

  /**
   * Replaces the file by these records, all or nothing. Makes the file if there was none.
   * @param {Iterable<object>} records at least one
   */
  rewrite(records) {
    const path = join(this.#dir, TEMPORARY)
    const fd = openSync(path, 'w', 0o600)
    let size = 0
    for (const record of records) {
      // All of it becomes durable before the file gets its name.
      const bytes = encode(record, size)
      writeAll(fd, bytes)
      size += bytes.length
    }
    fsyncSync(fd)
    renameSync(path, join(this.#dir, FILE))
    syncFolder(this.#dir)
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = fd
    this.#isSynced = true
    this.#durable = size
    this.size = size
  }

  close() {
    if (this.#fd === undefined) return
    fsyncSync(this.#fd)
    closeSync(this.#fd)
    this.#fd = undefined
  }
}
