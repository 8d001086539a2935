/** What every RTCPeerConnection of ours needs: configuration, candidates in the wire's form, and a
 * watch that says early when it is broken. */

import { SilenceWatch } from './silence_watch.js'
import type { Candidate, MediaStarted } from './wire.js'

/** An interruption shorter than this heals by itself more often than not. */
const DISCONNECTED_MS = 2_000
/** Longest time from the first exchange of descriptions to a connection. */
const CONNECT_MS = 10_000
const LOOK_MS = 400
/** So long after a hint that the network changed nobody is asked any more whether it did: a path in doubt is given up. */
const SUSPICION_MS = 3_000

export function configurationOf(started: MediaStarted): RTCConfiguration {
  return {
    bundlePolicy: 'max-bundle',
    iceTransportPolicy: started.ice_transport_policy ?? 'all',
    iceServers: started.ice_servers.map(({ urls, username, credential }) => ({
      urls,
      ...(username == null ? {} : { username }),
      ...(credential == null ? {} : { credential }),
    })),
  }
}

export function candidateToWire(candidate: RTCIceCandidate | null): Candidate | null {
  if (candidate === null || candidate.candidate === '') return null
  return {
    candidate: candidate.candidate,
    sdp_mid: candidate.sdpMid,
    sdp_m_line_index: candidate.sdpMLineIndex,
    username_fragment: candidate.usernameFragment,
  }
}

export function candidateFromWire(candidate: Candidate): RTCIceCandidateInit {
  return {
    candidate: candidate.candidate,
    sdpMid: candidate.sdp_mid ?? null,
    sdpMLineIndex: candidate.sdp_m_line_index ?? null,
    usernameFragment: candidate.username_fragment ?? null,
  }
}

export type Connectivity = 'new' | 'connecting' | 'connected' | 'interrupted'

export interface WatchOptions {
  changed: () => void
  broken: (why: string) => void
  /** Nothing came for a moment, though it ought to. */
  doubtful?: () => void
  /** Whether packets ought to come now. */
  expectsPackets?: () => boolean
  /** Whether nothing could be done about it now. */
  isSuspended?: () => boolean
}

/** Tells once when a peer connection is broken: failed, interrupted for too long, never connected,
 * or silent while packets are due. */
export class ConnectionWatch {
  readonly #pc: RTCPeerConnection
  readonly #options: WatchOptions
  #interruption: ReturnType<typeof setTimeout> | undefined
  #connecting: ReturnType<typeof setTimeout> | undefined
  #looks: ReturnType<typeof setInterval> | undefined
  readonly #silence = new SilenceWatch()
  #suspectedAt = Number.NEGATIVE_INFINITY
  #wasConnected = false
  #over = false

  constructor(pc: RTCPeerConnection, options: WatchOptions) {
    this.#pc = pc
    this.#options = options
    pc.addEventListener('connectionstatechange', () => this.#stateChanged())
  }

  get connectivity(): Connectivity {
    switch (this.#pc.connectionState) {
      case 'new':
        return 'new'
      case 'connected':
        return 'connected'
      case 'connecting':
        return this.#wasConnected ? 'interrupted' : 'connecting'
      default:
        return 'interrupted'
    }
  }

  /** Descriptions were exchanged: from now on it should connect. */
  expectConnection(): void {
    if (this.#over || this.#wasConnected || this.#connecting !== undefined) return
    this.#connecting = setTimeout(() => this.#break('not connected in time'), CONNECT_MS)
  }

  close(): void {
    this.#over = true
    clearTimeout(this.#interruption)
    clearTimeout(this.#connecting)
    clearInterval(this.#looks)
  }

  #stateChanged(): void {
    if (this.#over) return
    const state = this.#pc.connectionState
    clearTimeout(this.#interruption)
    if (state === 'connected') {
      this.#wasConnected = true
      clearTimeout(this.#connecting)
      this.#silence.beginAnew()
      this.#looks ??= setInterval(() => void this.#look(), LOOK_MS)
    } else if (state === 'failed') this.#break('failed')
    else if (state === 'disconnected') {
      this.#interruption = setTimeout(() => this.#break('disconnected'), DISCONNECTED_MS)
      if (this.#options.isSuspended?.() !== true) this.#options.doubtful?.()
    }
    this.#options.changed()
  }

  /** The network may have changed: no packets for a moment, now or soon, and this path is given up. */
  suspect(): void {
    this.#suspectedAt = performance.now()
    if (this.connectivity === 'interrupted' || this.#silence.isDoubtful) this.#break('network changed')
  }

  async #look(): Promise<void> {
    const signs = await lifeSigns(this.#pc)
    if (this.#over || signs === null) return
    const verdict = this.#silence.look(signs, this.#options.expectsPackets?.() === true)
    if (this.#options.isSuspended?.() === true) return
    if (verdict === 'dead') this.#break('silent')
    else if (verdict === 'doubtful' && performance.now() - this.#suspectedAt < SUSPICION_MS) this.#break('network changed')
    else if (verdict === 'doubtful') this.#options.doubtful?.()
  }

  #break(why: string): void {
    if (this.#over) return
    this.close()
    this.#options.broken(why)
  }
}

/** Of the transport, by the statistics of one sender or receiver (all m-lines share it): those of a connection with
 * sixty tracks take long. */
async function transportStats(pc: RTCPeerConnection): Promise<RTCStatsReport | undefined> {
  if (pc.connectionState === 'closed') return undefined
  const { sender, receiver, currentDirection } =
    pc.getTransceivers().find((each) => each.currentDirection !== null && each.currentDirection !== 'inactive') ?? {}
  return (currentDirection === 'recvonly' ? receiver : sender)?.getStats()
}

/** Bytes sent and received so far. */
export async function transferredBytes(pc: RTCPeerConnection): Promise<number> {
  let bytes = 0
  for (const stats of ((await transportStats(pc))?.values() ?? []) as Iterable<Record<string, unknown>>) {
    if (stats.type === 'transport') bytes += Number(stats.bytesSent ?? 0) + Number(stats.bytesReceived ?? 0)
  }
  return bytes
}

/** Bytes received and checks answered so far; null when that cannot be told. */
async function lifeSigns(pc: RTCPeerConnection): Promise<number | null> {
  const report = await transportStats(pc)
  if (report === undefined) return null
  let signs: number | null = null
  for (const stats of report.values() as Iterable<Record<string, unknown>>) {
    const sign = stats.type === 'transport' ? stats.bytesReceived : stats.type === 'candidate-pair' ? stats.responsesReceived : null
    if (typeof sign === 'number') signs = (signs ?? 0) + sign
  }
  return signs
}

/** Longest pause while voice has another way: an attempt costs a server something, and there are whole schools. */
export const FALLEN_BACK_PAUSE_MS = 60_000

/** Pauses between attempts at the same thing: none at first, then longer and longer, until it has
 * been well for a while. Pure: `now` in milliseconds is an argument. */
export class Pacing {
  #tries = 0
  #lastAt = Number.NEGATIVE_INFINITY

  /** How long to wait before the attempt that is due at `now`; never longer than `longestMs`. */
  nextDelayMs(now: number, longestMs = 10_000): number {
    if (now - this.#lastAt > 30_000) this.#tries = 0
    const delayMs = this.#tries === 0 ? 0 : Math.min(500 * 2 ** this.#tries, longestMs)
    this.#tries += 1
    this.#lastAt = now + delayMs
    return delayMs
  }
}
