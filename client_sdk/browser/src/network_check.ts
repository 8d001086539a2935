import { io } from 'socket.io-client'
import { PasserelleApi, trimmed } from './api.js'
import { Emitter } from './emitter.js'
import { measureDelayMs, measureDownload, measureUpload } from './network_line.js'
import { tryDirect, tryRelay, type PathProblem, type PathResult } from './network_path.js'
import { canCarryVoice } from './voice_audio.js'
import type { TransportName } from './transport_memory.js'
import type { IceServer, MediaProbe, NetworkCheck as Basis, NetworkTarget } from './wire.js'

/** A transport that has not answered by then would keep a class waiting as long. */
const SOCKET_MS = 8_000

export type NetworkTest = 'websocket' | 'polling' | 'udp' | 'relay_udp' | 'relay_tcp' | 'relay_tls' | 'delay' | 'download' | 'upload'

/**
 * - `passes`, `blocked`;
 * - `partly`: to some of the media's ports, not to all;
 * - `absent`: this server does not offer it;
 * - `unknown`: it could not be tried (see `problem`), or measured.
 */
export type NetworkOutcome = 'passes' | 'partly' | 'blocked' | 'absent' | 'unknown'

export interface NetworkResult {
  test: NetworkTest
  outcome: NetworkOutcome
  problem: PathProblem | null
  /** Of a way that is open, and of `delay`. */
  roundTripMs: number | null
  /** Of `download` and `upload`. */
  bitsPerSecond: number | null
}

export interface NetworkReport {
  results: ReadonlyMap<NetworkTest, NetworkResult>
  /** What the server's configuration needs to get through. */
  targets: readonly NetworkTarget[]
  /** Whether sound and picture go by Janus, whose ports the server does not know. */
  byJanus: boolean
  /** Whether voice may go by the signaling connection where media find no way: this browser can, and the server does. */
  voiceBySignaling: boolean
}

export interface NetworkCheckEvents {
  result: (result: NetworkResult) => void
}

/** Tries a network, without an account and without a room. Once: make another one to try again. */
export class NetworkCheck extends Emitter<NetworkCheckEvents> {
  readonly #baseUrl: string
  readonly #aborted = new AbortController()
  readonly #results = new Map<NetworkTest, NetworkResult>()

  constructor(options: { baseUrl?: string } = {}) {
    super()
    this.#baseUrl = trimmed(options.baseUrl)
  }

  /** Rejects when the server cannot be reached, or takes no check now (`too-many-requests`). */
  async run(): Promise<NetworkReport> {
    const basis = await new PasserelleApi({ baseUrl: this.#baseUrl }).startNetworkCheck()
    const { signal } = this.#aborted
    const sockets = (['websocket', 'polling'] as const).map(async (transport) =>
      this.#tell(transport, (await trySocket(this.#baseUrl, transport, signal)) ? 'passes' : 'blocked'),
    )
    await Promise.all([...sockets, this.#direct(basis.probes), ...this.#relays(basis)])
    // Not beside the others: they would be late, and the line would look thin.
    await this.#line()
    const byJanus = basis.engine === 'janus'
    return { results: new Map(this.#results), targets: basis.targets, byJanus, voiceBySignaling: !byJanus && (await canCarryVoice()) }
  }

  stop(): void {
    this.#aborted.abort()
  }

  async #direct(probes: readonly MediaProbe[]): Promise<void> {
    if (probes.length === 0) return this.#tell('udp', 'unknown')
    const paths = await Promise.all(probes.map((probe) => tryDirect(probe, this.#aborted.signal)))
    const open = paths.filter(({ isOpen }) => isOpen)
    const outcome = open.length === paths.length ? 'passes' : open.length > 0 ? 'partly' : 'blocked'
    this.#tellPath('udp', outcome, open[0] ?? paths[0]!)
  }

  #relays({ ice_servers, probes }: Basis): Promise<void>[] {
    return (['relay_udp', 'relay_tcp', 'relay_tls'] as const).map(async (test) => {
      const server = relayOf(ice_servers, test)
      if (server === null) return this.#tell(test, 'absent')
      const path = await tryRelay(server, probes[0] ?? null, this.#aborted.signal)
      // No place at the relay now says nothing of the network.
      this.#tellPath(test, path.isOpen ? 'passes' : path.problem === 'quota' ? 'unknown' : 'blocked', path)
    })
  }

  async #line(): Promise<void> {
    const { signal } = this.#aborted
    const delay = await measureDelayMs(this.#baseUrl, signal)
    this.#tell('delay', delay === null ? 'unknown' : 'passes', { roundTripMs: delay })
    for (const [test, measure] of [['download', measureDownload], ['upload', measureUpload]] as const) {
      const bitsPerSecond = await measure(this.#baseUrl, signal)
      this.#tell(test, bitsPerSecond === null ? 'unknown' : 'passes', { bitsPerSecond })
    }
  }

  #tellPath(test: NetworkTest, outcome: NetworkOutcome, { problem, roundTripMs }: PathResult): void {
    this.#tell(test, outcome, { problem: outcome === 'passes' ? null : problem, roundTripMs })
  }

  #tell(test: NetworkTest, outcome: NetworkOutcome, more: Partial<NetworkResult> = {}): void {
    const result = { test, outcome, problem: null, roundTripMs: null, bitsPerSecond: null, ...more }
    this.#results.set(test, result)
    if (!this.#aborted.signal.aborted) this.emit('result', result)
  }
}

/** The relays that are reached that way; null: there are none. */
export function relayOf(servers: readonly IceServer[], test: 'relay_udp' | 'relay_tcp' | 'relay_tls'): IceServer | null {
  const isOfTest = (url: string) => {
    if (url.startsWith('turns:')) return test === 'relay_tls'
    if (!url.startsWith('turn:')) return false
    return test === (/[?&]transport=tcp$/.test(url) ? 'relay_tcp' : 'relay_udp')
  }
  for (const server of servers) {
    const urls = server.urls.filter(isOfTest)
    if (urls.length > 0) return { ...server, urls }
  }
  return null
}

/** As a session connects, but without a token: the server's refusal is the sign that it was reached. */
function trySocket(baseUrl: string, transport: TransportName, signal: AbortSignal): Promise<boolean> {
  const url = new URL(baseUrl)
  const socket = io(url.origin, {
    path: `${url.pathname.replace(/\/+$/, '')}/socket.io`,
    forceNew: true,
    multiplex: false,
    reconnection: false,
    transports: [transport],
    timeout: SOCKET_MS,
  })
  return new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), SOCKET_MS)
    signal.addEventListener('abort', () => resolve(false))
    socket.on('connect_error', (error: Error & { data?: unknown }) => {
      clearTimeout(timer)
      const { data } = error
      resolve(typeof data === 'object' && data !== null && 'code' in data)
    })
  }).finally(() => socket.disconnect())
}
