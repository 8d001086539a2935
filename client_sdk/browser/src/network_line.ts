/** How wide the line to the server is, and how far away it is: roughly, over HTTP, in a few seconds. */

/** Long enough for a thin line to show itself, short enough to wait for. */
const MEASURE_MS = 4_000
const ROUND_TRIPS = 5
const UPLOADS_BYTES = [64 * 1024, 512 * 1024]
/** An upload that took longer has said enough. */
const ENOUGH_MS = 1_000
/** Nothing is quicker than the clock of a page. */
const LEAST_MS = 2

/** The middle one of a few round trips over a connection that stands; null: none came back. */
export async function measureDelayMs(baseUrl: string, signal: AbortSignal): Promise<number | null> {
  const found: number[] = []
  for (let turn = 0; turn <= ROUND_TRIPS; turn += 1) {
    const began = performance.now()
    try {
      await (await fetch(`${baseUrl}/healthz`, { cache: 'no-store', signal })).text()
    } catch {
      continue // one that is lost says nothing of the others
    }
    if (turn > 0) found.push(performance.now() - began) // the first one may have opened the connection
  }
  return found.sort((a, b) => a - b)[Math.floor(found.length / 2)] ?? null
}

/** Bits a second from the server; null: not known (refused, or nothing came). */
export async function measureDownload(baseUrl: string, signal: AbortSignal): Promise<number | null> {
  const ends = new AbortController()
  const stop = () => ends.abort()
  const timer = setTimeout(stop, MEASURE_MS)
  signal.addEventListener('abort', stop)
  let began = 0
  let last = 0
  let bytes = 0
  try {
    const response = await fetch(`${baseUrl}/api/network-check/bytes`, { cache: 'no-store', signal: ends.signal })
    if (!response.ok || response.body === null) return null
    began = last = performance.now()
    const reader = response.body.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      bytes += value.byteLength
      last = performance.now()
    }
  } catch {
    if (signal.aborted) return null // else: the time is over, and what came until then counts
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
  return bytes === 0 ? null : (bytes * 8_000) / Math.max(LEAST_MS, last - began)
}

/** Bits a second towards the server; null: not known. */
export async function measureUpload(baseUrl: string, signal: AbortSignal): Promise<number | null> {
  let found: number | null = null
  for (const size of UPLOADS_BYTES) {
    const began = performance.now()
    const sent = await upload(`${baseUrl}/api/network-check/bytes`, noise(size), signal)
    if (sent === null) break
    const elapsed = performance.now() - began
    found = (sent * 8_000) / Math.max(LEAST_MS, elapsed)
    if (elapsed > ENOUGH_MS) break
  }
  return found
}

/** Bytes that went up until it was done, or the time was over; null: refused, or none. */
function upload(url: string, body: Blob, signal: AbortSignal): Promise<number | null> {
  return new Promise((resolve) => {
    // Not `fetch`: it does not say how far it has come.
    const request = new XMLHttpRequest()
    let sent = 0
    const stop = () => request.abort()
    const timer = setTimeout(stop, MEASURE_MS)
    request.upload.onprogress = ({ loaded }) => (sent = loaded)
    request.onloadend = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      if (request.status === 204) resolve(body.size)
      else resolve(request.status === 0 && sent > 0 && !signal.aborted ? sent : null)
    }
    signal.addEventListener('abort', stop)
    request.open('POST', url)
    request.setRequestHeader('Content-Type', 'application/octet-stream')
    request.send(body)
  })
}

/** Incompressible. */
function noise(size: number): Blob {
  const most = 65_536 // of getRandomValues
  return new Blob(Array.from({ length: size / most }, () => crypto.getRandomValues(new Uint8Array(most))))
}
