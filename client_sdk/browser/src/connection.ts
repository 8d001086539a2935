import { io, type Socket } from 'socket.io-client'
import { Emitter } from './emitter.js'
import { PasserelleError, fromErrorAnswer, isErrorAnswer } from './errors.js'
import type { Log } from './log.js'
import { DOUBTED_ANSWER_MS, HURRIED_ANSWER_MS, Liveness, drainingDelayMs, isFinalRefusal, reconnectionDelayMs, returnDelayMs } from './reconnection.js'
import { rememberTransport, rememberedTransport, transportOrder, type TransportName } from './transport_memory.js'

export type ConnectionState = 'connecting' | 'connected' | 'reconnecting' | 'closed'

/** Longest wait for a command's acknowledgement. */
const ACKNOWLEDGEMENT_MS = 10_000
/** Longest wait for a transport to open: a proxy that swallows WebSockets says nothing at all. */
const OPEN_MS = 6_000
/** Longest wait for the server's word on the token: it holds back whoever tries wrong ones. */
const ADMITTED_MS = 15_000
/** A draining server that never closes: leave it by oneself this long after the time it named. */
const DRAIN_PATIENCE_MS = 2_000

export interface ConnectionEvents {
  state: (state: ConnectionState, transport: TransportName | null) => void
  /** A connection stands: everything begins again on it. */
  opened: (transport: TransportName) => void
  /** There is none (any more), or an attempt failed. */
  lost: () => void
  message: (event: string, args: unknown[]) => void
  /** For good: no further attempt. */
  refused: (error: PasserelleError) => void
}

export interface ConnectionOptions {
  baseUrl: string
  token: () => string
  transports: readonly TransportName[]
  log: Log
}

/** One Socket.IO connection after the other, for as long as it makes sense. Each attempt has a
 * socket of its own, so that nothing of a dead one is ever heard. */
export class Connection extends Emitter<ConnectionEvents> {
  readonly #options: ConnectionOptions
  readonly origin: string
  readonly #path: string
  #state: ConnectionState = 'connecting'
  #transport: TransportName | null = null
  #socket: Socket | null = null
  #attempt = 0
  #attemptTimer: ReturnType<typeof setTimeout> | undefined
  #delayTimer: ReturnType<typeof setTimeout> | undefined
  #delayEndsAt = 0
  #drainTimer: ReturnType<typeof setTimeout> | undefined
  #drainDelayMs: number | null = null
  #liveness: Liveness | null = null
  #livenessTimer: ReturnType<typeof setTimeout> | undefined
  #forgetNetworkEvents: () => void = () => undefined

  constructor(options: ConnectionOptions) {
    super()
    this.#options = options
    const url = new URL(options.baseUrl)
    this.origin = url.origin
    this.#path = `${url.pathname.replace(/\/+$/, '')}/socket.io`
  }

  get state(): ConnectionState {
    return this.#state
  }

  /** Of the present connection; null while there is none. */
  get transport(): TransportName | null {
    return this.#transport
  }

  open(): void {
    if (this.#state === 'closed' || this.#socket !== null || this.#delayTimer !== undefined) return
    this.#forgetNetworkEvents = listenToNetwork({
      shown: () => this.checkNow(),
      back: () => this.#networkIsBack(),
      gone: () => this.#suspect(),
    })
    this.#connect()
  }

  /** For good. */
  close(): void {
    if (this.#state === 'closed') return
    this.#forgetNetworkEvents()
    clearTimeout(this.#delayTimer)
    clearTimeout(this.#drainTimer)
    this.#discardSocket()
    this.#setState('closed', null)
  }

  /** The network may have changed: connect now rather than later, or see whether we still are. */
  checkNow(): void {
    if (this.#state === 'closed') return
    if (this.#delayTimer !== undefined) {
      this.#attempt = 0
      this.#connect()
    } else this.#suspect()
  }

  /** For everybody around at once: soon, and not all in one instant. */
  #networkIsBack(): void {
    if (this.#delayTimer === undefined) {
      this.checkNow()
      return
    }
    this.#attempt = 0
    this.#wait(Math.min(this.#delayEndsAt - Date.now(), returnDelayMs(Math.random())))
  }

  /** Something else that goes the same way says nothing any more: no answer within a moment, and it is dead. */
  doubt(): void {
    if (this.#delayTimer === undefined) this.#suspect(DOUBTED_ANSWER_MS)
  }

  /** The server announced that it stops. */
  drain(reconnectAfterMs: number): void {
    this.#drainDelayMs = drainingDelayMs(reconnectAfterMs, Math.random())
    clearTimeout(this.#drainTimer)
    this.#drainTimer = setTimeout(() => {
      this.#drainDelayMs = 0
      this.#lose('draining')
    }, this.#drainDelayMs + DRAIN_PATIENCE_MS)
  }

  /** Without an acknowledgement. False: there is no connection; what matters is sent when there is. */
  send(event: string, ...args: unknown[]): boolean {
    if (this.#socket === null || this.#state !== 'connected') return false
    this.#socket.emit(event, ...args)
    return true
  }

  /** A command and its answer. Rejects with the server's refusal, or "network". */
  async request<Answer>(event: string, payload: object): Promise<Answer> {
    const socket = this.#socket
    if (socket === null || this.#state !== 'connected') throw new PasserelleError('network', 'There is no connection now.')
    let answer: unknown
    try {
      answer = await socket.timeout(ACKNOWLEDGEMENT_MS).emitWithAck(event, payload)
    } catch (cause) {
      this.checkNow()
      throw new PasserelleError('network', `No answer to ${event}.`, { cause })
    }
    if (isErrorAnswer(answer)) throw fromErrorAnswer(answer)
    return answer as Answer
  }

  // --- attempts -------------------------------------------------------------------------------

  #connect(): void {
    clearTimeout(this.#delayTimer)
    this.#delayTimer = undefined
    const order = transportOrder(this.#options.transports, rememberedTransport(this.origin), this.#attempt)
    const socket = io(this.origin, {
      path: this.#path,
      forceNew: true,
      multiplex: false,
      reconnection: false,
      transports: order,
      tryAllTransports: true,
      timeout: OPEN_MS,
      auth: (send) => send({ token: this.#options.token() }),
    })
    this.#socket = socket
    this.#attemptTimer = setTimeout(() => this.#fail(socket, 'no answer'), ADMITTED_MS)
    socket.on('connect', () => this.#opened(socket))
    socket.on('connect_error', (error) => this.#connectError(socket, error, order))
    socket.on('disconnect', (reason) => this.#socket === socket && this.#lose(reason))
    socket.onAny((event: string, ...args: unknown[]) => {
      if (this.#socket === socket) this.emit('message', event, args)
    })
  }

  #opened(socket: Socket): void {
    if (this.#socket !== socket) return
    clearTimeout(this.#attemptTimer)
    this.#attempt = 0
    this.#drainDelayMs = null
    const { engine } = socket.io
    const transport = nameOf(engine.transport.name)
    engine.on('packet', () => this.#liveness?.receive(Date.now()))
    engine.on('upgrade', (upgraded: { name: string }) => this.#socket === socket && this.#upgraded(nameOf(upgraded.name)))
    rememberTransport(this.origin, transport)
    this.#liveness = new Liveness(Date.now())
    this.#watch()
    this.#options.log.debug('connected', transport)
    this.#setState('connected', transport)
    this.emit('opened', transport)
  }

  #upgraded(transport: TransportName): void {
    rememberTransport(this.origin, transport)
    this.#options.log.debug('moved to', transport)
    this.#setState('connected', transport)
  }

  #connectError(socket: Socket, error: Error & { data?: unknown }, order: TransportName[]): void {
    if (this.#socket !== socket) return
    const refusal = refusalIn(error)
    if (refusal !== null && isFinalRefusal(refusal.code)) {
      this.#options.log.warn('refused', refusal.code)
      this.close()
      this.emit('refused', refusal)
      return
    }
    if (refusal === null && error.message === 'timeout' && order[0] === 'websocket' && this.#options.transports.includes('polling')) {
      // Neither opened nor refused: something in between swallows it. Polling first from now on; if
      // WebSocket works all the same, the connection moves to it by itself.
      rememberTransport(this.origin, 'polling')
      this.#discardSocket()
      this.#connect()
      return
    }
    this.#fail(socket, refusal?.code ?? error.message)
  }

  #fail(socket: Socket, why: string): void {
    if (this.#socket === socket) this.#lose(why)
  }

  /** Who finds out by themselves, each at a time of their own, need not be spread further. */
  #lose(why: string, pauseMs = reconnectionDelayMs(this.#attempt, Math.random())): void {
    if (this.#state === 'closed' || this.#socket === null) return
    this.#options.log.debug('connection lost', why, this.#attempt)
    this.#discardSocket()
    const delayMs = this.#drainDelayMs ?? pauseMs
    this.#drainDelayMs = null
    clearTimeout(this.#drainTimer)
    this.#attempt += 1
    this.#wait(delayMs)
    this.#setState('reconnecting', null)
    this.emit('lost')
  }

  #wait(delayMs: number): void {
    clearTimeout(this.#delayTimer)
    this.#delayEndsAt = Date.now() + delayMs
    this.#delayTimer = setTimeout(() => this.#connect(), delayMs)
  }

  #discardSocket(): void {
    const socket = this.#socket
    this.#socket = null
    this.#liveness = null
    clearTimeout(this.#attemptTimer)
    clearTimeout(this.#livenessTimer)
    if (socket === null) return
    const { engine } = socket.io
    socket.disconnect()
    // Socket.IO waits for what is still to be written; on a dead network that is for ever.
    setTimeout(() => engine?.transport?.close(), 1_000)
  }

  // --- life -----------------------------------------------------------------------------------

  #watch(): void {
    clearTimeout(this.#livenessTimer)
    const liveness = this.#liveness
    if (liveness === null) return
    this.#livenessTimer = setTimeout(
      () => {
        const verdict = liveness.handleTimer(Date.now())
        if (verdict === 'dead') this.#lose('silent', 0)
        else {
          if (verdict === 'probe') this.#probe()
          this.#watch()
        }
      },
      Math.max(0, liveness.nextTimer - Date.now()),
    )
  }

  #suspect(answerMs = HURRIED_ANSWER_MS): void {
    if (this.#liveness === null) return
    const now = Date.now()
    if (this.#liveness.handleTimer(now) === 'dead') this.#lose('silent', 0)
    else if (this.#liveness.suspect(now, answerMs)) this.#probe()
  }

  #probe(): void {
    // Any packet is an answer; what it says does not matter.
    this.#socket?.emit('ping_room', {}, () => undefined)
    this.#watch()
  }

  #setState(state: ConnectionState, transport: TransportName | null): void {
    if (state === this.#state && transport === this.#transport) return
    this.#state = state
    this.#transport = transport
    this.emit('state', state, transport)
  }
}

function nameOf(transport: string): TransportName {
  return transport === 'websocket' ? 'websocket' : 'polling'
}

/** The server's own refusal in what Socket.IO says, null when the network failed. */
function refusalIn(error: Error & { data?: unknown }): PasserelleError | null {
  const data = error.data
  if (typeof data !== 'object' || data === null || !('code' in data) || typeof data.code !== 'string') return null
  return new PasserelleError(data.code, error.message)
}

interface NetworkHints {
  /** A lid opened, a page shown again. */
  shown: () => void
  /** Wi-Fi is back. */
  back: () => void
  gone: () => void
}

/** Returns what ends it. */
function listenToNetwork({ shown, back, gone }: NetworkHints): () => void {
  if (typeof document === 'undefined') return () => undefined
  const visibility = () => {
    if (document.visibilityState === 'visible') shown()
  }
  addEventListener('online', back)
  addEventListener('offline', gone)
  addEventListener('pageshow', shown)
  document.addEventListener('visibilitychange', visibility)
  return () => {
    removeEventListener('online', back)
    removeEventListener('offline', gone)
    removeEventListener('pageshow', shown)
    document.removeEventListener('visibilitychange', visibility)
  }
}
