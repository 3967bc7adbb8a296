// Checks every line that goes in or out against the published schemas.
import { readFileSync } from 'node:fs'
import Ajv from 'ajv/dist/2020.js'

const folder = new URL('../../../../schemas/sidecar/', import.meta.url)
const ajv = new Ajv({ strict: true, strictRequired: false, strictTypes: false, allowUnionTypes: true })
const read = name => ({ $id: name, ...JSON.parse(readFileSync(new URL(name, folder), 'utf8')) })
const answers = read('answers.json')
for (const schema of [read('requests.json'), answers, read('events.json')]) ajv.addSchema(schema)

/** By request: the answer's members beyond `re` and `ok`, and no others. */
function successOf(op) {
  const $id = `answer-${op}`
  if (!ajv.getSchema($id)) {
    const own = answers.$defs[op] ?? {}
    const properties = { re: {}, ok: {}, ...own.properties }
    for (const part of Object.values(properties)) {
      if (part.$ref?.startsWith('#')) part.$ref = `answers.json${part.$ref}`
    }
    ajv.addSchema({ $id, required: own.required ?? [], properties, additionalProperties: false })
  }
  return $id
}

function check(name, value) {
  if (ajv.validate(name, value)) return
  throw new Error(`not as in ${name}: ${ajv.errorsText()}: ${JSON.stringify(value).slice(0, 500)}`)
}

export const checkRequest = request => check('requests.json', request)
export const checkEvent = event => check('events.json', event)

/** @param {string | undefined} op of the request */
export function checkAnswer(op, answer) {
  check('answers.json', answer)
  if (answer.ok && op) check(successOf(op), answer)
}
