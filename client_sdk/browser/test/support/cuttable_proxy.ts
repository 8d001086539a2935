import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { freePort } from './ports.js'

interface Faults {
  /** Answer every WebSocket handshake with 403, as some filters do. */
  refuseWebSocket?: boolean
  /** Take every WebSocket handshake and never answer, as others do. */
  swallowWebSocket?: boolean
}

/** Forwards TCP to a port of this machine, until it is cut: then every connection breaks and new ones
 * are refused. */
export class CuttableProxy {
  webSocketAttempts = 0
  /** WebSocket handshakes to answer with 503, as a proxy does whose server starts again. */
  unavailableFor = 0
  readonly #target: number
  readonly #faults: Faults
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null
  #port = 0

  private constructor(target: number, faults: Faults) {
    this.#target = target
    this.#faults = faults
  }

  static async to(port: number, faults: Faults = {}): Promise<CuttableProxy> {
    const proxy = new CuttableProxy(port, faults)
    await proxy.mend()
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  cut(): void {
    this.#server?.close()
    this.#server = null
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Listen (again, on the same port). */
  async mend(): Promise<void> {
    this.#port ||= await freePort()
    this.#server = createServer((near) => this.#accept(near)).listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async close(): Promise<void> {
    const server = this.#server
    this.cut()
    if (server?.listening) await once(server, 'close')
  }

  #accept(near: Socket): void {
    this.#watch(near)
    near.once('data', (head) => {
      if (/^upgrade: websocket/im.test(head.toString('latin1'))) {
        this.webSocketAttempts += 1
        if (this.unavailableFor > 0) {
          this.unavailableFor -= 1
          near.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
          return
        }
        if (this.#faults.swallowWebSocket) return
        if (this.#faults.refuseWebSocket) {
          near.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
          return
        }
      }
      const far = connect(this.#target, '127.0.0.1')
      this.#watch(far)
      far.write(head)
      near.pipe(far).pipe(near)
    })
  }

  #watch(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#sockets.delete(socket))
  }
}
