#!/usr/bin/env node
// Makes the one file that runs: the sidecar's modules, Baileys and what it needs, with the edits of edits.mjs. Called
// by `install`.
import { readFile } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { EDITS, SHIMS } from './edits.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const out = resolve(process.argv[2] ?? join(here, 'dist', 'sidecar.mjs'))
const version = async path => JSON.parse(await readFile(join(here, path), 'utf8')).version

/** Applies the edits of one file; what is not found exactly once fails the build. */
function edited(text, edits) {
  for (const { file, find, put, why } of edits) {
    const count = text.split(find).length - 1
    if (count !== 1) throw new Error(`${file}: the text to edit is there ${count} times (${why}): ${find}`)
    text = text.replace(find, () => put)
  }
  return text
}

const shim = name => ({ path: join(here, 'shims', name) })
const escaped = text => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')

const ours = {
  name: 'edits-and-shims',
  setup({ onResolve, onLoad, onEnd }) {
    for (const [name, file] of Object.entries(SHIMS.names)) {
      onResolve({ filter: new RegExp(`^${escaped(name)}$`) }, () => shim(file))
    }
    for (const [path, file] of Object.entries(SHIMS.files)) {
      onLoad({ filter: new RegExp(`${escaped(path)}$`) }, async () => ({
        contents: await readFile(shim(file).path, 'utf8')
      }))
    }
    const applied = new Set()
    const files = new Set(EDITS.map(edit => edit.file))
    for (const file of files) {
      onLoad({ filter: new RegExp(`${escaped(file)}$`) }, async ({ path }) => {
        if (!path.endsWith(`node_modules${sep}${file}`)) return undefined
        applied.add(file)
        return {
          contents: edited(
            await readFile(path, 'utf8'),
            EDITS.filter(edit => edit.file === file)
          )
        }
      })
    }
    onEnd(() => {
      const missed = [...files].filter(file => !applied.has(file))
      if (missed.length) throw new Error(`not part of the bundle, so not edited: ${missed.join(', ')}`)
    })
  }
}

await build({
  entryPoints: [join(here, 'src', 'main.mjs')],
  outfile: out,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  plugins: [ours],
  define: {
    SIDECAR_VERSION: JSON.stringify(await version('package.json')),
    BAILEYS_VERSION: JSON.stringify(await version('node_modules/baileys/package.json'))
  },
  banner: {
    js: [
      '// Contains libsignal (GPL-3.0) and MIT-licensed packages; see NOTICE beside package.json.',
      "import { createRequire as makeRequire } from 'node:module';const require=makeRequire(import.meta.url);"
    ].join('\n')
  }
})
console.log(out)
