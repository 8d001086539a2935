/** What every RTCPeerConnection of ours needs: configuration, candidates in the wire's form, and a
 * watch that says early when it is broken. */

import type { Candidate, MediaStarted } from './wire.js'

/** An interruption shorter than this heals by itself more often than not. */
const DISCONNECTED_MS = 2_000
/** Longest time from the first exchange of descriptions to a connection. */
const CONNECT_MS = 10_000
const LOOK_MS = 400
/** Looks without any sign of life, while packets are due, after which the path is taken for dead: packets
 * and reports come every second, answers to the browser's own checks every 2.5 s. The browser takes
 * some seconds more to say so. */
const SILENT_LOOKS = 10
/** Looks after which it is worth asking whether the network is there at all: a device that has another address now is
 * told so by nobody. More than the second in which each connection that lives has brought a report. */
const DOUBTFUL_LOOKS = 3
/** The same after a hint that the network changed. */
const HURRIED_LOOK_MS = 1_500

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
  #signs = 0
  #silentLooks = 0
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
      this.#silentLooks = 0
      this.#looks ??= setInterval(() => void this.#look(), LOOK_MS)
    } else if (state === 'failed') this.#break('failed')
    else if (state === 'disconnected') this.#interruption = setTimeout(() => this.#break('disconnected'), DISCONNECTED_MS)
    this.#options.changed()
  }

  /** The network may have changed: look closely. */
  async suspect(): Promise<void> {
    if (this.connectivity === 'interrupted' || this.#silentLooks >= DOUBTFUL_LOOKS) return this.#break('network changed')
    if (this.#pc.connectionState !== 'connected') return
    const before = await lifeSigns(this.#pc)
    await new Promise((resolve) => setTimeout(resolve, HURRIED_LOOK_MS))
    const now = this.#over ? null : await lifeSigns(this.#pc)
    if (now !== null && now === before && this.#options.expectsPackets?.() === true) this.#break('silent')
  }

  async #look(): Promise<void> {
    const signs = await lifeSigns(this.#pc)
    if (this.#over || signs === null) return
    const isSilent = signs === this.#signs && this.#options.expectsPackets?.() === true
    this.#silentLooks = isSilent ? this.#silentLooks + 1 : 0
    this.#signs = signs
    if (this.#options.isSuspended?.() === true) return
    if (this.#silentLooks === DOUBTFUL_LOOKS) this.#options.doubtful?.()
    if (this.#silentLooks >= SILENT_LOOKS) this.#break('silent')
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
