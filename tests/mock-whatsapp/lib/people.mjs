// Everybody there is: accounts (the owners of linked clients), other people, and groups. Made by server.mjs.
import * as libsignal from 'libsignal'
import { Device } from './device.mjs'
import { digits, lidJid, lidOf, pnJid } from './jids.mjs'
import { el, jidDecode } from './wa.mjs'

const FIRST_OWNER = '15550009999'

export class People {
  /** pn -> {pn, lid, name, phone, companions, next} */
  accounts = new Map()
  /** pn -> {pn, lid, name, exists, devices} */
  others = new Map()
  groups = new Map()
  #byLid = new Map()
  #knobs

  constructor(knobs) {
    this.#knobs = knobs
  }

  /** The owner of a number, made when first asked for. */
  account(number) {
    const pn = digits(number || FIRST_OWNER)
    let account = this.accounts.get(pn)
    if (!account) {
      account = { pn, lid: lidOf(pn), name: 'Mock Owner', companions: new Map(), next: 1 }
      account.phone = new Device(account.lid, 0)
      this.accounts.set(pn, account)
      this.#byLid.set(account.lid, account)
    }
    return account
  }

  /** Whoever a number or jid belongs to, made when first asked for. */
  person(who) {
    const user = digits(who)
    const known = this.accounts.get(user) ?? this.#byLid.get(user) ?? this.others.get(user)
    if (known) return known
    const person = {
      pn: user,
      lid: lidOf(user),
      name: `Contact ${user.slice(-4)}`,
      exists: true,
      devices: []
    }
    for (let id = 0; id <= this.#knobs.extraDevices; id++) person.devices.push(new Device(person.lid, id))
    this.others.set(user, person)
    this.#byLid.set(person.lid, person)
    return person
  }

  /** The end-to-end device that a jid stands for, or undefined when it is a linked client. */
  deviceOf(jid) {
    const { user, device = 0 } = jidDecode(jid)
    const person = this.person(user)
    if (person.phone) return device ? undefined : person.phone
    return person.devices[device]
  }

  /** All devices of a person that the mock itself plays. */
  devicesOf(pn) {
    const person = this.person(pn)
    return person.phone ? [person.phone] : person.devices
  }

  createGroup({ id, subject = 'Mock group', members, addressing = 'lid', creation }) {
    const group = { id, subject, members, addressing, creation }
    for (const pn of members) this.person(pn)
    this.groups.set(id, group)
    return group
  }

  /** A member's address in a group. */
  memberJid(group, who) {
    return group.addressing === 'lid' ? lidJid(this.person(who).lid) : pnJid(digits(who))
  }

  groupNode(group) {
    const { id, subject, creation, members, addressing } = group
    const owner = this.memberJid(group, members[0])
    const participants = members.map((pn, i) => {
      const other = addressing === 'lid' ? { phone_number: pnJid(pn) } : { lid: lidJid(this.person(pn).lid) }
      const type = i === 0 ? 'superadmin' : undefined
      return el('participant', { jid: this.memberJid(group, pn), ...other, type })
    })
    const attrs = { id: digits(id), subject, creation, creator: owner, s_t: creation, s_o: owner }
    return el('group', { ...attrs, addressing_mode: addressing, size: members.length }, participants)
  }
}

/** The Signal address of a linked client. */
export const addressOf = (account, companion) => new libsignal.ProtocolAddress(account.lid, companion.id)
