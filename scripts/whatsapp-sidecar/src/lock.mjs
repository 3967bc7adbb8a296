// The lock of a folder of credentials, which only one sidecar may use: two would use up each other's keys. The lock
// file names the process that holds it and when that started, so that a later process with its number is not taken
// for it.
import { execFileSync } from 'node:child_process'
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { RequestError } from './errors.mjs'

/** When a process started, in whatever form the system tells it; undefined if it does not run. */
function startOf(pid) {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Fields 3, 4, ... follow the name, which may hold anything; state is 3rd, start time 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch {
    if (process.platform === 'linux') return undefined
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined
  } catch {
    return undefined
  }
}

/** The kernel's id of the present boot: start times of another boot cannot be compared. */
function boot() {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return ''
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Number of the process that a lock file names, if that still runs. */
function holder(text) {
  try {
    const { pid, start, bootId } = JSON.parse(text)
    return bootId === boot() && start !== undefined && startOf(pid) === start ? pid : undefined
  } catch {
    return undefined
  }
}

/**
 * Takes the folder for this process.
 * @param {string} dir
 * @returns {() => void} gives it back
 * @throws {RequestError} `locked` when another process has it
 */
export function lockFolder(dir) {
  const path = join(dir, 'lock')
  const mine = `${path}.${process.pid}`
  const text = JSON.stringify({ pid: process.pid, start: startOf(process.pid), bootId: boot() })
  writeFileSync(mine, text, { mode: 0o600 })
  try {
    for (;;) {
      try {
        linkSync(mine, path)
        return () => void (read(path) === text && unlinkSync(path))
      } catch (error) {
        if (error.code !== 'EEXIST') throw error
      }
      const found = read(path)
      if (found === undefined) continue
      const pid = holder(found)
      if (pid !== undefined) throw new RequestError('locked', `process ${pid} uses this folder`, true)
      removeStale(path, found)
    }
  } finally {
    unlinkSync(mine)
  }
}

/** Removes a dead process's lock, unless another one has just replaced it. */
function removeStale(path, found) {
  const aside = `${path}.stale.${process.pid}`
  try {
    renameSync(path, aside)
  } catch (error) {
    if (error.code === 'ENOENT') return
    throw error
  }
  try {
    if (read(aside) !== found) linkSync(aside, path)
  } finally {
    unlinkSync(aside)
  }
}
