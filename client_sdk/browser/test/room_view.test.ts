import { describe, expect, test } from 'vitest'
import { applyEvent, follows, newChatLines } from '../src/room_view.js'
import type { Participant, RoomDocument, RoomEvent, RoomEventMessage, RoomView, Track } from '../src/wire.js'
import { seeded } from './support/random.js'

function participant(id: string, change: Partial<Participant> = {}): Participant {
  return { id, name: id, role: 'class', label: '', connected: true, hand_raised_at: null, joined_at: 1, ...change }
}

function track(id: string, participant_id: string, muted = false): Track {
  return { id, participant_id, session_id: `s-${participant_id}`, source: 'camera', kind: 'video', muted }
}

function text(document: string, title: string): RoomDocument {
  return { document, title, created_at: 1 }
}

function view(change: Partial<RoomView> = {}): RoomView {
  return {
    room: { id: 'r', name: 'Salle', kind: 'interclass' },
    seq: 3,
    self_id: 'me',
    role: 'class',
    permissions: ['chat'],
    settings: { lobby_roles: ['guest'], chat_enabled: true, writing_enabled: true },
    participants: [participant('me'), participant('a')],
    lobby: [],
    tracks: [track('t', 'a')],
    chat: [],
    documents: [text('a', 'Questions'), text('b', 'Récit')],
    ...change,
  } as RoomView
}

function message(event: RoomEvent, seq = 4, prev = 3): RoomEventMessage {
  return { seq, prev, event }
}

function frozen<Value>(value: Value): Value {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value)
    for (const each of Object.values(value)) frozen(each)
  }
  return value
}

describe('a view plus an event', () => {
  const cases: [string, RoomEvent, Partial<RoomView>][] = [
    ['someone comes', { type: 'participant_joined', participant: participant('b') }, { participants: [participant('me'), participant('a'), participant('b')] }],
    [
      'someone raises a hand, in place',
      { type: 'participant_changed', participant: participant('me', { hand_raised_at: 9, role: 'host' }) },
      { participants: [participant('me', { hand_raised_at: 9, role: 'host' }), participant('a')], role: 'host' },
    ],
    ['someone leaves, with their tracks', { type: 'participant_left', participant_id: 'a', reason: 'left' }, { participants: [participant('me')], tracks: [] }],
    ['the track is muted', { type: 'track_published', track: track('t', 'a', true) }, { tracks: [track('t', 'a', true)] }],
    ['the track is gone', { type: 'track_unpublished', track_id: 't' }, { tracks: [] }],
    [
      'rights change',
      { type: 'settings_changed', settings: { lobby_roles: [], chat_enabled: false, writing_enabled: true }, permissions: [] },
      { settings: { lobby_roles: [], chat_enabled: false, writing_enabled: true }, permissions: [] },
    ],
    [
      'the room freezes',
      { type: 'freeze_changed', freeze: { since: 5, until: null }, permissions: [] },
      { freeze: { since: 5, until: null }, permissions: [] },
    ],
    [
      'a text is listed',
      { type: 'document_created', document: text('c', 'Visite') },
      { documents: [text('a', 'Questions'), text('b', 'Récit'), text('c', 'Visite')] },
    ],
    ['a text has another title, in place', { type: 'document_renamed', document: text('a', 'Réponses') }, { documents: [text('a', 'Réponses'), text('b', 'Récit')] }],
    ['an event of a newer server', { type: 'moon_rose' } as unknown as RoomEvent, {}],
  ]

  test.each(cases)('%s', (_name, event, change) => {
    const before = frozen(view())
    expect(applyEvent(before, message(event))).toEqual({ ...view(), ...change, seq: 4 })
  })

  test('shares what did not change', () => {
    const before = view()
    const after = applyEvent(before, message({ type: 'track_unpublished', track_id: 't' }))
    expect(after.participants).toBe(before.participants)
  })

  test('an event that changes nothing gives the same view', () => {
    const before = view()
    expect(applyEvent(before, message({ type: 'speakers_changed', participant_ids: ['a'] }, 3, 3))).toBe(before)
  })

  test('keeps the last 200 chat lines, each once', () => {
    let now = view()
    for (let n = 0; n < 250; n += 1) {
      const line = { id: `c${n}`, participant_id: 'a', name: 'a', text: 'x', sent_at: n }
      now = applyEvent(now, message({ type: 'chat_sent', line }, 3, 3))
      now = applyEvent(now, message({ type: 'chat_sent', line }, 3, 3))
    }
    expect(now.chat.map(({ id }) => id)).toEqual(Array.from({ length: 200 }, (_, n) => `c${n + 50}`))
  })

  test('a missing event shows', () => {
    expect(follows(view(), message({ type: 'track_unpublished', track_id: 't' }, 5, 3))).toBe(true)
    expect(follows(view(), message({ type: 'track_unpublished', track_id: 't' }, 5, 4))).toBe(false)
  })
})

test('the order of repeated events about different things does not matter', () => {
  const events: RoomEvent[] = [
    { type: 'participant_changed', participant: participant('a', { hand_raised_at: 5 }) },
    { type: 'track_published', track: track('u', 'me') },
    { type: 'track_unpublished', track_id: 't' },
  ]
  const random = seeded(3)
  const ends = Array.from({ length: 20 }, () => {
    const order = [...events, ...events].sort(() => random() - 0.5)
    return JSON.stringify(order.reduce((now, event) => applyEvent(now, message(event, 3, 3)), view()))
  })
  expect(new Set(ends).size).toBe(1)
})

test('new chat lines are those that the view before did not have; the first view has none', () => {
  const line = { id: 'c', participant_id: 'a', name: 'a', text: 'x', sent_at: 1 }
  expect(newChatLines(null, view({ chat: [line] }))).toEqual([])
  expect(newChatLines(view(), view({ chat: [line] }))).toEqual([line])
})
