// One sidecar per folder of credentials: two would burn each other's keys. A lock file names the process that
// holds the folder, with the time it started, so that the number's next owner is not taken for it.
import { execFileSync } from 'node:child_process'
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** When the process started, in the system's own words; undefined if it does not run. */
function startOf(pid) {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Fields 3, 4, ... follow the name, which may hold anything; state is 3rd, start time 22nd.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch (error) {
    if (process.platform === 'linux') return undefined
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined
  } catch {
    return undefined
  }
}

/** The kernel's name for the time since it booted: start times of another boot mean nothing. */
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
 * @returns {{pid?: number, release?: () => void}} `pid` of who has it, or `release` to give it back
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
        return { release: () => read(path) === text && unlinkSync(path) }
      } catch (error) {
        if (error.code !== 'EEXIST') throw error
      }
      const found = read(path)
      if (found === undefined) continue
      const pid = holder(found)
      if (pid !== undefined) return { pid }
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
