// y-websocket's own provider, unchanged, driven by the test: one JSON line in for each command, lines out
// for what the provider reports. Run in client_sdk/browser, where y-websocket can be found.
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const found = createRequire(`${process.cwd()}/package.json`)
const load = (name) => import(pathToFileURL(found.resolve(name)).href)
const Y = await load('yjs')
const { WebsocketProvider } = await load('y-websocket')
const { default: WebSocket } = await load('ws')

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const providers = new Map()

const commands = {
  open ({ name, url, room, document, token }) {
    const doc = new Y.Doc()
    const provider = new WebsocketProvider(`${url}/yjs/${room}`, document, doc, {
      params: { token }, WebSocketPolyfill: WebSocket, disableBc: true, maxBackoffTime: 500
    })
    providers.set(name, provider)
    provider.on('status', ({ status }) => say({ name, status }))
    provider.on('sync', (synced) => say({ name, synced }))
    provider.on('closed', ({ code, reason }) => say({ name, closed: code, reason }))
    provider.awareness.on('change', () => say({ name, people: peopleOf(provider) }))
    doc.on('update', () => say({ name, text: doc.getText('text').toString(), xml: doc.getXmlFragment('content').toString() }))
  },
  type ({ name, text }) {
    const content = providers.get(name).doc.getText('text')
    content.insert(content.length, text)
  },
  point ({ name, person }) {
    providers.get(name).awareness.setLocalStateField('user', { name: person })
  },
  cut ({ name }) {
    providers.get(name).ws.terminate()
  },
  end ({ name }) {
    providers.get(name).destroy()
  }
}

const peopleOf = (provider) =>
  [...provider.awareness.getStates().values()].map((state) => state.user?.name).filter(Boolean).sort()

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  commands[command.do](command)
}
process.exit(0)
