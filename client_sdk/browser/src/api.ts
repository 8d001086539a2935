import { PasserelleError, fromErrorAnswer, isErrorAnswer } from './errors.js'
import { randomId } from './random_id.js'
import type { CreateInvitation, CreateRoom, Invitation, InvitationList, InvitationRevoked, Join, Joined, NetworkCheck, RoomCreated } from './wire.js'

/** Longest wait for an answer: a server that holds back a guesser takes 15 s at most. */
const ANSWER_TIMEOUT_MS = 20_000

type Fetch = typeof globalThis.fetch

/** The HTTP API: making rooms, inviting, joining. Everything rejects with `PasserelleError`. */
export class PasserelleApi {
  readonly #baseUrl: string
  readonly #fetch: Fetch

  /** `baseUrl`: where the server is; the page's own origin unless given. */
  constructor(options: { baseUrl?: string; fetch?: Fetch } = {}) {
    this.#baseUrl = trimmed(options.baseUrl)
    // Called through the global: a detached `fetch` throws "Illegal invocation" in browsers.
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init))
  }

  /** `apiKey`: needed unless the server lets anyone on its own machine make rooms. `request_id`: as for `join`. */
  createRoom(body: CreateRoom, apiKey?: string): Promise<RoomCreated> {
    return this.#makeOnce('/api/rooms', body, apiKey)
  }

  /** A participant's token for an invitation or a code, and a name. Give `resume`, an earlier
   * token, to come back as the same participant. A `request_id` (`randomId()`) that is kept until an answer came lets
   * you ask again when it did not, for ten minutes, and be one participant; each call has its own unless one is given,
   * as a browser may send a request twice by itself. */
  join(body: Join): Promise<Joined> {
    return this.#makeOnce('/api/join', body)
  }

  createInvitation(room: string, token: string, body: CreateInvitation): Promise<Invitation> {
    return this.#request('POST', `${invitationsOf(room)}`, body, token)
  }

  async listInvitations(room: string, token: string): Promise<Invitation[]> {
    return (await this.#request<InvitationList>('GET', invitationsOf(room), undefined, token)).invitations
  }

  /** Whoever came by it is out at once; false: a connection of theirs may still be open somewhere, on a server that
   * does not answer now. */
  async revokeInvitation(room: string, token: string, id: string): Promise<boolean> {
    const path = `${invitationsOf(room)}/${encodeURIComponent(id)}`
    return (await this.#request<InvitationRevoked | undefined>('DELETE', path, undefined, token))?.confirmed ?? true
  }

  /** What to try before a visit; `NetworkCheck` of this package tries it. */
  startNetworkCheck(): Promise<NetworkCheck> {
    return this.#request('POST', '/api/network-check', {})
  }

  async #makeOnce<Answer>(path: string, body: CreateRoom | Join, bearer?: string): Promise<Answer> {
    const { request_id, ...plain } = body
    try {
      return await this.#request<Answer>('POST', path, { ...plain, request_id: request_id ?? randomId() }, bearer)
    } catch (problem) {
      // An instance that was not upgraded yet refuses a field that it does not know, and cannot name it.
      if (!(problem instanceof PasserelleError) || problem.code !== 'invalid' || problem.field !== undefined) throw problem
      return this.#request<Answer>('POST', path, plain, bearer)
    }
  }

  async #request<Answer>(method: string, path: string, body?: object, bearer?: string): Promise<Answer> {
    const headers = new Headers({ Accept: 'application/json' })
    if (bearer !== undefined) headers.set('Authorization', `Bearer ${bearer}`)
    if (body !== undefined) headers.set('Content-Type', 'application/json')
    const init: RequestInit = { method, headers, cache: 'no-store', signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) }
    if (body !== undefined) init.body = JSON.stringify(body)
    let status: number
    let text: string
    try {
      const response = await this.#fetch(this.#baseUrl + path, init)
      status = response.status
      text = await response.text()
    } catch (cause) {
      throw new PasserelleError('network', 'The server could not be reached.', { cause })
    }
    return read<Answer>(status, text)
  }
}

function invitationsOf(room: string): string {
  return `/api/rooms/${encodeURIComponent(room)}/invitations`
}

/** Where the server is, without a last slash. */
export function trimmed(baseUrl: string | undefined): string {
  const url = baseUrl ?? globalThis.location?.origin
  if (url === undefined) throw new PasserelleError('invalid', 'Outside a browser, baseUrl must be given.')
  return url.replace(/\/+$/, '')
}

function read<Answer>(status: number, text: string): Answer {
  let parsed: unknown
  try {
    parsed = text === '' ? undefined : JSON.parse(text)
  } catch (cause) {
    throw unexpected(status, cause)
  }
  if (isErrorAnswer(parsed)) throw fromErrorAnswer(parsed)
  if (status < 200 || status > 299) throw unexpected(status)
  return parsed as Answer
}

/** A proxy's own page, most of the time; 5xx is its word for a server that is away. */
function unexpected(status: number, cause?: unknown): PasserelleError {
  const code = status >= 500 ? 'network' : 'invalid-answer'
  return new PasserelleError(code, `The server answered ${status} with something else than JSON.`, { cause })
}
