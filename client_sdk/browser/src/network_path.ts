/** Whether media find a way to the server: ICE with its agent that carries nothing (MediaProbe), straight or by a relay. */

import type { IceServer, MediaProbe } from './wire.js'

/** A browser gives a way up after some 15 s; a session would have looked for another one by then. */
const CONNECT_MS = 8_000
/** Checks are answered this long before the round trip is read: a handful, at two a second. */
const SETTLE_MS = 1_200
const FIRST_PRIORITY = 2_130_706_431
/** Any will do: DTLS never begins. */
const NO_FINGERPRINT = Array.from({ length: 32 }, () => '00').join(':')

/**
 * - `timeout`: nothing came back;
 * - `credentials`: the relay does not take what the server gave (its secret, or a clock);
 * - `quota`: the relay has no place for a check now;
 * - `beyond`: the relay is reached, the media from there are not.
 */
export type PathProblem = 'timeout' | 'credentials' | 'quota' | 'beyond'

export interface PathResult {
  isOpen: boolean
  problem: PathProblem | null
  roundTripMs: number | null
}

/** Straight to the media. */
export function tryDirect(probe: MediaProbe, signal: AbortSignal): Promise<PathResult> {
  return tryPath({ iceServers: [] }, probe, signal)
}

/** By that relay alone; without a probe, as far as the relay. */
export function tryRelay(server: IceServer, probe: MediaProbe | null, signal: AbortSignal): Promise<PathResult> {
  const { urls, username, credential } = server
  const relay: RTCIceServer = { urls, ...(username == null ? {} : { username }), ...(credential == null ? {} : { credential }) }
  return tryPath({ iceServers: [relay], iceTransportPolicy: 'relay' }, probe, signal)
}

async function tryPath(configuration: RTCConfiguration, probe: MediaProbe | null, signal: AbortSignal): Promise<PathResult> {
  const pc = new RTCPeerConnection(configuration)
  try {
    pc.createDataChannel('check')
    const outcome = watch(pc, probe !== null, signal)
    await pc.setLocalDescription(await pc.createOffer())
    if (probe !== null) await pc.setRemoteDescription({ type: 'answer', sdp: answerOf(probe, midOf(pc)) })
    const problem = await outcome
    return { isOpen: problem === null, problem, roundTripMs: problem === null && probe !== null ? await roundTripMs(pc) : null }
  } finally {
    pc.close()
  }
}

/** Resolves with null when the way is open. */
function watch(pc: RTCPeerConnection, toTheEnd: boolean, signal: AbortSignal): Promise<PathProblem | null> {
  return new Promise((resolve) => {
    let hasRelay = false
    let refusal: PathProblem | null = null
    const giveUp = () => end(hasRelay ? 'beyond' : (refusal ?? 'timeout'))
    const timer = setTimeout(giveUp, CONNECT_MS)
    const end = (problem: PathProblem | null) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
      resolve(problem)
    }
    signal.addEventListener('abort', giveUp)
    pc.addEventListener('icecandidateerror', ({ errorCode }) => {
      if (errorCode === 401 || errorCode === 403 || errorCode === 438) refusal = 'credentials'
      if (errorCode === 486 || errorCode === 508) refusal = 'quota'
    })
    pc.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate?.type === 'relay') {
        hasRelay = true
        if (!toTheEnd) end(null)
      }
    })
    pc.addEventListener('icegatheringstatechange', () => {
      if (pc.iceGatheringState === 'complete' && pc.getConfiguration().iceTransportPolicy === 'relay' && !hasRelay) giveUp()
    })
    pc.addEventListener('iceconnectionstatechange', () => {
      if (pc.iceConnectionState === 'connected' || pc.iceConnectionState === 'completed') end(null)
      else if (pc.iceConnectionState === 'failed') giveUp()
    })
  })
}

function midOf(pc: RTCPeerConnection): string {
  return /^a=mid:(\S+)/m.exec(pc.localDescription?.sdp ?? '')?.[1] ?? '0'
}

/** The description that the agent would give (RFC 8839); `setup:active` makes the browser wait for a DTLS that never
 * comes, so that nothing but checks is sent. */
export function answerOf(probe: MediaProbe, mid: string): string {
  const candidates = probe.addresses.map(
    (address, index) => `a=candidate:${index + 1} 1 udp ${FIRST_PRIORITY - index} ${address} ${probe.port} typ host`,
  )
  return [
    'v=0',
    'o=- 1 1 IN IP4 0.0.0.0',
    's=-',
    't=0 0',
    'a=ice-lite',
    `a=group:BUNDLE ${mid}`,
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    'c=IN IP4 0.0.0.0',
    `a=mid:${mid}`,
    `a=ice-ufrag:${probe.username_fragment}`,
    `a=ice-pwd:${probe.password}`,
    `a=fingerprint:sha-256 ${NO_FINGERPRINT}`,
    'a=setup:active',
    'a=sctp-port:5000',
    ...candidates,
    'a=end-of-candidates',
    '',
  ].join('\r\n')
}

async function roundTripMs(pc: RTCPeerConnection): Promise<number | null> {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
  let best: number | null = null
  for (const stats of (await pc.getStats()).values() as Iterable<Record<string, unknown>>) {
    if (stats.type !== 'candidate-pair' || typeof stats.currentRoundTripTime !== 'number') continue
    const milliseconds = stats.currentRoundTripTime * 1_000
    if (best === null || milliseconds < best) best = milliseconds
  }
  return best
}
