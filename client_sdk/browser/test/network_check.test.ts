import { expect, it } from 'vitest'
import { relayOf, type NetworkOutcome, type NetworkReport, type NetworkResult, type NetworkTest } from '../src/network_check.js'
import { answerOf } from '../src/network_path.js'
import { bestWay, mustBeOpened, outcomeOf, verdictOf } from '../src/network_verdict.js'
import type { NetworkTarget } from '../src/wire.js'

const target = (purpose: NetworkTarget['purpose'], transport: NetworkTarget['transport'], port = 443): NetworkTarget => ({
  purpose,
  host: 'passerelle.example.org',
  port,
  transport,
  lasts: true,
})

/** Everything passes on a wide line, but for what is named. */
function report(found: Partial<Record<NetworkTest, NetworkOutcome | Partial<NetworkResult>>> = {}): NetworkReport {
  const good: Record<NetworkTest, Partial<NetworkResult>> = {
    websocket: {},
    polling: {},
    udp: { roundTripMs: 20 },
    relay_udp: { roundTripMs: 21 },
    relay_tcp: { roundTripMs: 22 },
    relay_tls: { roundTripMs: 23 },
    delay: { roundTripMs: 25 },
    download: { bitsPerSecond: 2e7 },
    upload: { bitsPerSecond: 5e6 },
  }
  const results = new Map<NetworkTest, NetworkResult>()
  for (const test of Object.keys(good) as NetworkTest[]) {
    const change = found[test] ?? {}
    const nothing = { test, outcome: 'passes' as const, problem: null, roundTripMs: null, bitsPerSecond: null }
    results.set(test, { ...nothing, ...good[test], ...(typeof change === 'string' ? { outcome: change } : change) })
  }
  const targets = [target('page', 'tls'), target('media', 'udp', 40_000), target('relay', 'udp', 3478), target('relay', 'tls')]
  return { results, targets, byJanus: false, voiceBySignaling: false }
}

const noRelay = { relay_udp: 'blocked', relay_tcp: 'blocked', relay_tls: 'blocked' } as const

it.each([
  ['everything passes', {}, 'good', 'udp'],
  ['only the encrypted relay', { udp: 'blocked', relay_udp: 'blocked', relay_tcp: 'blocked' }, 'good', 'relay_tls'],
  ['some ports, no relay', { udp: 'partly', ...noRelay }, 'good', 'udp'],
  ['WebSocket is barred', { websocket: 'blocked' }, 'good', 'udp'],
  ['no measure could be had', { delay: { outcome: 'unknown', roundTripMs: null }, download: { outcome: 'unknown', bitsPerSecond: null } }, 'good', 'udp'],
  ['a line for one small picture', { download: { bitsPerSecond: 1e6 } }, 'voice', 'udp'],
  ['a line that hardly goes up', { upload: { bitsPerSecond: 2e5 } }, 'voice', 'udp'],
  ['a satellite', { delay: { roundTripMs: 620 } }, 'voice', 'udp'],
  ['a modem', { download: { bitsPerSecond: 5e4 } }, 'text', 'udp'],
  ['no way for media', { udp: 'blocked', ...noRelay }, 'text', null],
  ['nothing for signaling', { websocket: 'blocked', polling: 'blocked' }, 'text', 'udp'],
] as const)('%s: what it means for a visit', (_name, found, verdict, way) => {
  expect(verdictOf(report(found))).toBe(verdict)
  expect(bestWay(report(found))).toBe(way)
})

it('lets the voice through by the signaling connection where media find no way, if browser and server can', () => {
  const barred = { ...report({ udp: 'blocked', ...noRelay }), voiceBySignaling: true }
  expect(verdictOf(barred)).toBe('voice')
  expect(verdictOf({ ...report({ udp: 'blocked', ...noRelay, websocket: 'blocked', polling: 'blocked' }), voiceBySignaling: true })).toBe('text')
  expect(verdictOf({ ...report(), voiceBySignaling: true })).toBe('good')
})

it('names what is shut, and nothing that could not be tried', () => {
  const found = report({ udp: 'blocked', relay_udp: 'unknown', websocket: 'blocked' })
  expect(mustBeOpened(found).map(({ purpose, port }) => [purpose, port])).toEqual([['page', 443], ['media', 40_000]])
  expect(found.targets.map((each) => outcomeOf(each, found))).toEqual(['partly', 'blocked', 'unknown', 'passes'])
  expect(mustBeOpened(report())).toEqual([])
})

it('sorts the relays by how they are reached', () => {
  const urls = ['turn:a:3478', 'turn:a:3478?transport=tcp', 'turns:a:443?transport=tcp', 'turn:b:3478?transport=udp']
  const servers = [{ urls: ['stun:a:3478'], username: null, credential: null }, { urls, username: 'u', credential: 'p' }]
  expect(relayOf(servers, 'relay_udp')?.urls).toEqual(['turn:a:3478', 'turn:b:3478?transport=udp'])
  expect(relayOf(servers, 'relay_tcp')).toEqual({ urls: ['turn:a:3478?transport=tcp'], username: 'u', credential: 'p' })
  expect(relayOf(servers, 'relay_tls')?.urls).toEqual(['turns:a:443?transport=tcp'])
  expect(relayOf([servers[0]!], 'relay_udp')).toBeNull()
})

it('answers for the agent: its fragment, its addresses, and a DTLS that never begins', () => {
  const sdp = answerOf({ addresses: ['203.0.113.5', '2001:db8::5'], port: 40_000, username_fragment: 'uf', password: 'secret' }, '0')
  expect(sdp).toContain('a=ice-lite\r\n')
  expect(sdp).toContain('a=ice-ufrag:uf\r\na=ice-pwd:secret\r\n')
  expect(sdp).toContain('a=setup:active\r\n')
  expect(sdp).toContain(' 203.0.113.5 40000 typ host\r\n')
  expect(sdp).toContain(' 2001:db8::5 40000 typ host\r\n')
})
