/**
 * Cuts one Yjs update into several, each small enough for a message.
 *
 * A long stretch offline, or a document given back to a server that lost it, is more than a school's
 * proxy lets pass in one piece. The pieces are applied in order, and none depends on a later one: a
 * struct goes out once its left and right neighbour and its parent have.
 */

import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'

type Struct = ReturnType<typeof Y.decodeUpdate>['structs'][number]
type Deletions = ReturnType<typeof Y.decodeUpdate>['ds']
interface Dependency {
  client: number
  clock: number
}

/**
 * The pieces, in the order in which they must be applied; the update itself when it is small. Long text
 * is cut too; any other single value above `maxBytes` (a picture as a data URL) cannot be: its piece is
 * longer, and the caller's to refuse.
 */
export function splitUpdate(update: Uint8Array, maxBytes: number): Uint8Array[] {
  if (update.byteLength <= maxBytes) return [update]
  const { structs, ds } = Y.decodeUpdate(update)
  const pieces: Uint8Array[] = []
  let piece: Struct[] = []
  let bytes = 0
  for (const struct of inOrderOfDependency(structs.flatMap((each) => shortened(each, maxBytes)))) {
    const size = sizeOf(struct)
    if (bytes + size > maxBytes && piece.length > 0) {
      pieces.push(encode(piece))
      piece = []
      bytes = 0
    }
    piece.push(struct)
    bytes += size
  }
  if (piece.length > 0) pieces.push(encode(piece))
  return [...pieces, ...deletionPieces(ds, maxBytes)]
}

/** Bytes of UTF-8 for one unit of UTF-16, at most. */
const BYTES_PER_UNIT = 3

/** A long run of text (Yjs joins what is typed in one go) as several structs that follow each other. */
function shortened(struct: Struct, maxBytes: number): Struct[] {
  const longest = Math.max(2, Math.floor(maxBytes / BYTES_PER_UNIT) - 64)
  if (!(struct instanceof Y.Item) || !(struct.content instanceof Y.ContentString) || struct.length <= longest) return [struct]
  const { id, origin, rightOrigin, parent, parentSub } = struct
  const text = struct.content.str
  const parts: Struct[] = []
  for (let at = 0; at < text.length; ) {
    let end = Math.min(at + longest, text.length)
    if (isHighSurrogate(text.charCodeAt(end - 1)) && end < text.length) end -= 1
    const left = at === 0 ? origin : Y.createID(id.client, id.clock + at - 1)
    const content = new Y.ContentString(text.slice(at, end))
    parts.push(new Y.Item(Y.createID(id.client, id.clock + at), null, left, null, rightOrigin, parent, parentSub, content))
    at = end
  }
  return parts
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}

/** By client each run ascends; between clients, whatever a struct needs comes first. */
function inOrderOfDependency(structs: Struct[]): Struct[] {
  const runs = new Map<number, { structs: Struct[]; next: number; done: number }>()
  for (const struct of structs) {
    const run = runs.get(struct.id.client)
    if (run === undefined) runs.set(struct.id.client, { structs: [struct], next: 0, done: struct.id.clock })
    else run.structs.push(struct)
  }
  const isThere = ({ client, clock }: Dependency): boolean => {
    const run = runs.get(client)
    // Before the run: the receiver has it, or the update would not begin there.
    return run === undefined || clock < run.done || run.next >= run.structs.length
  }
  const ordered: Struct[] = []
  while (ordered.length < structs.length) {
    const before = ordered.length
    for (const run of runs.values()) {
      let struct = run.structs[run.next]
      while (struct !== undefined && dependencies(struct).every(isThere)) {
        ordered.push(struct)
        run.next += 1
        run.done = struct.id.clock + struct.length
        struct = run.structs[run.next]
      }
    }
    // What needs something that is nowhere in the update keeps its place: the receiver asks for it.
    if (ordered.length === before) for (const run of runs.values()) ordered.push(...run.structs.splice(run.next))
  }
  return ordered
}

function dependencies(struct: Struct): Dependency[] {
  if (!(struct instanceof Y.Item)) return []
  const parent: unknown = struct.parent
  return [struct.origin, struct.rightOrigin, parent instanceof Y.ID ? parent : null].filter((id) => id !== null)
}

function sizeOf(struct: Struct): number {
  const encoder = new Y.UpdateEncoderV1()
  struct.write(encoder as never, 0)
  return encoder.toUint8Array().byteLength + 16 // and its share of the run's head
}

/** V1: number of runs; of each: number of structs, client, first clock, structs; then deletions. */
function encode(structs: Struct[]): Uint8Array {
  const runs = new Map<number, Struct[]>()
  for (const struct of structs) {
    const run = runs.get(struct.id.client)
    if (run === undefined) runs.set(struct.id.client, [struct])
    else run.push(struct)
  }
  const encoder = new Y.UpdateEncoderV1()
  encoding.writeVarUint(encoder.restEncoder, runs.size)
  for (const [client, run] of runs) {
    encoding.writeVarUint(encoder.restEncoder, run.length)
    encoding.writeVarUint(encoder.restEncoder, client)
    encoding.writeVarUint(encoder.restEncoder, run[0]?.id.clock ?? 0)
    for (const struct of run) struct.write(encoder as never, 0)
  }
  encoding.writeVarUint(encoder.restEncoder, 0)
  return encoder.toUint8Array()
}

/** Bytes that a deleted range takes at most: two varUints of 32 bits. */
const RANGE_BYTES = 10

function deletionPieces(deletions: Deletions, maxBytes: number): Uint8Array[] {
  const perPiece = Math.max(1, Math.floor(maxBytes / RANGE_BYTES) - 16)
  const pieces: Uint8Array[] = []
  for (const [client, ranges] of deletions.clients) {
    for (let at = 0; at < ranges.length; at += perPiece) {
      const encoder = encoding.createEncoder()
      encoding.writeVarUint(encoder, 0)
      encoding.writeVarUint(encoder, 1)
      encoding.writeVarUint(encoder, client)
      const some = ranges.slice(at, at + perPiece)
      encoding.writeVarUint(encoder, some.length)
      for (const { clock, len } of some) {
        encoding.writeVarUint(encoder, clock)
        encoding.writeVarUint(encoder, len)
      }
      pieces.push(encoding.toUint8Array(encoder))
    }
  }
  // Many authors with few deletions each go together again.
  return together(pieces, maxBytes)
}

function together(pieces: Uint8Array[], maxBytes: number): Uint8Array[] {
  const groups: Uint8Array[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const piece of pieces) {
    if (bytes + piece.byteLength > maxBytes) {
      groups.push([])
      bytes = 0
    }
    groups.at(-1)?.push(piece)
    bytes += piece.byteLength
  }
  return groups.map((group) => Y.mergeUpdates(group))
}

/** Updates merged at once: `mergeUpdates` is quadratic in their number. */
const MERGE_AT_ONCE = 100

/** One update for many, in their order. */
export function mergeUpdates(updates: Uint8Array[]): Uint8Array {
  let merged = updates
  while (merged.length > 1) {
    const next: Uint8Array[] = []
    for (let at = 0; at < merged.length; at += MERGE_AT_ONCE) next.push(Y.mergeUpdates(merged.slice(at, at + MERGE_AT_ONCE)))
    merged = next
  }
  return merged[0] ?? Y.mergeUpdates([])
}
