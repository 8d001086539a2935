/** Who may be invited into which kind of room, and what they are called there: a private meeting has its own words. */

import type { RoleName, RoomKind } from '@passerelle/client'
import type { Key } from '../i18n.js'

/** The likeliest first. */
export const offered: Readonly<Record<RoomKind, readonly RoleName[]>> = {
  interclass: ['class', 'pupil', 'guest', 'observer', 'host'],
  community: ['guest', 'class', 'observer', 'host'],
  consultation: ['pupil', 'guest', 'host'],
}

export function nameOf(kind: RoomKind, role: RoleName): Key {
  return kind === 'consultation' && (role === 'pupil' || role === 'guest') ? `invitePrivate_${role}` : `invite_${role}`
}

/** What such an invitation is for. */
export function purposeOf(kind: RoomKind, role: RoleName): Key {
  return kind === 'consultation' && (role === 'pupil' || role === 'guest') ? `inviteForPrivate_${role}` : `inviteFor_${role}`
}
