/** The room as this participant sees it: a view plus an event is the next view. Pure. */

import type { ChatLine, Participant, RoomDocument, RoomEvent, RoomEventMessage, RoomView, Track } from './wire.js'

/** Chat lines that a view keeps, as the server does. */
const MAX_CHAT_LINES = 200

/** Whether this is the next message for the view, or one is missing before it. */
export function follows(view: RoomView, message: RoomEventMessage): boolean {
  return message.prev === view.seq
}

/** The view after the event. `view` and all in it stay as they are: what did not change is shared. */
export function applyEvent(view: RoomView, message: RoomEventMessage): RoomView {
  const seq = Math.max(view.seq, message.seq)
  const changed = applied(view, message.event)
  return changed === view && seq === view.seq ? view : { ...changed, seq }
}

function applied(view: RoomView, event: RoomEvent): RoomView {
  switch (event.type) {
    case 'participant_joined':
    case 'participant_changed':
      return { ...view, ...withOwnRole(view, event.participant), participants: put(view.participants, event.participant) }
    case 'participant_left':
      return {
        ...view,
        participants: view.participants.filter(({ id }) => id !== event.participant_id),
        tracks: view.tracks.filter((track) => track.participant_id !== event.participant_id),
      }
    case 'lobby_changed':
      return { ...view, lobby: event.lobby }
    case 'settings_changed':
      return { ...view, settings: event.settings, permissions: event.permissions }
    case 'freeze_changed':
      return { ...view, freeze: event.freeze, permissions: event.permissions }
    case 'document_created':
    case 'document_renamed':
      return { ...view, documents: withDocument(view.documents, event.document) }
    case 'chat_sent':
      return { ...view, chat: put(view.chat, event.line).slice(-MAX_CHAT_LINES) }
    case 'track_published':
      return { ...view, tracks: put(view.tracks, event.track) }
    case 'track_unpublished':
      return { ...view, tracks: view.tracks.filter(({ id }) => id !== event.track_id) }
    case 'speakers_changed':
      return view // a moment, no part of the room's state
    default:
      return view // of a newer server
  }
}

function withOwnRole(view: RoomView, participant: Participant): Partial<RoomView> {
  return participant.id === view.self_id ? { role: participant.role } : {}
}

/** In place of the entry with the same id, else at the end. */
function put<Entry extends Participant | ChatLine | Track>(entries: Entry[], entry: Entry): Entry[] {
  if (!entries.some(({ id }) => id === entry.id)) return [...entries, entry]
  return entries.map((each) => (each.id === entry.id ? entry : each))
}

function withDocument(documents: RoomDocument[], changed: RoomDocument): RoomDocument[] {
  const isListed = documents.some(({ document }) => document === changed.document)
  return isListed ? documents.map((each) => (each.document === changed.document ? changed : each)) : [...documents, changed]
}

/** Whether the room stands still now, for no adult in charge is there. */
export function isFrozen(view: RoomView): boolean {
  return view.freeze != null && view.freeze.until === null
}

/** Lines of `now` that `before` did not have. */
export function newChatLines(before: RoomView | null, now: RoomView): ChatLine[] {
  if (before === null || before.chat === now.chat) return []
  const known = new Set(before.chat.map(({ id }) => id))
  return now.chat.filter(({ id }) => !known.has(id))
}
