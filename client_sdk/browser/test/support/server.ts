/** A real server process on a free port, killed, restarted on the same data. */

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { SECOND_MS, eventually } from './deadlines.js'
import { freePort } from './ports.js'

const ROOT = resolve(import.meta.dirname, '../../../..')
const PYTHON = process.env.PASSERELLE_TEST_PYTHON ?? join(ROOT, '.venv/bin/python')

const HOLD = `
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
`

export class ServerProcess {
  readonly port: number
  readonly #data: string
  #child: ChildProcess | null = null
  #log = ''

  private constructor(port: number, data: string) {
    this.port = port
    this.#data = data
  }

  static async start(module = 'server'): Promise<ServerProcess> {
    const server = new ServerProcess(await freePort(), await mkdtemp(join(tmpdir(), 'passerelle-')))
    await server.start(module)
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** `module`: another one that runs the server. */
  async start(module = 'server'): Promise<void> {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PASSERELLE_'))
    const child = spawn(PYTHON, ['-m', module, 'run'], {
      cwd: ROOT,
      env: {
        ...Object.fromEntries(inherited),
        PASSERELLE_PORT: String(this.port),
        PASSERELLE_DATA: this.#data,
        PASSERELLE_MEDIA_ADDRESSES: '127.0.0.1',
        PASSERELLE_MEDIA_WORKERS: '1', // each takes most of a second to start
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const note = (text: Buffer) => (this.#log = (this.#log + text.toString()).slice(-20_000))
    child.stdout.on('data', note)
    child.stderr.on('data', note)
    this.#child = child
    await eventually(
      async () => {
        if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}:\n${this.#log}`)
        return (await fetch(`${this.url}/readyz`).catch(() => null))?.status === 200
      },
      { deadlineMs: 60 * SECOND_MS, what: () => `a ready server\n${this.#log}` },
    )
  }

  /** As a crash does. */
  kill(): Promise<void> {
    return this.#end('SIGKILL')
  }

  /** As an administrator does. */
  terminate(): Promise<void> {
    return this.#end('SIGTERM')
  }

  /** The process stands still: connections stay open, nothing is answered. */
  freeze(): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  /** Another process holds the store, so that every write of the server fails, until the answer is called. */
  async holdStore(): Promise<() => Promise<void>> {
    const holder = spawn(PYTHON, ['-c', HOLD, join(this.#data, 'passerelle.sqlite3')], { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(holder.stdout, 'data')
    return async () => {
      const ended = once(holder, 'exit')
      holder.stdin.end()
      await ended
    }
  }

  async dispose(): Promise<void> {
    await this.kill()
    await rm(this.#data, { recursive: true, force: true })
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
}
