/** Every deadline is a multiple of this; a slow machine stretches them all. */
export const SECOND_MS = 1_000 * Number(process.env.PASSERELLE_TEST_TIME_SCALE ?? '1')

interface Deadline {
  deadlineMs?: number
  what?: () => string
}

/** Resolves when `holds` does: asked again and again, for what gives no event to wait for. */
export async function eventually(holds: () => boolean | Promise<boolean>, { deadlineMs = 10 * SECOND_MS, what }: Deadline = {}): Promise<void> {
  const until = Date.now() + deadlineMs
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`not within ${deadlineMs} ms: ${what?.() ?? holds.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

interface Listenable {
  on(name: never, listener: (...args: never[]) => void): () => void
}

/** The next event of this name (for which `wanted` holds), as its arguments. */
export function nextEvent<Args extends unknown[]>(
  emitter: Listenable,
  name: string,
  wanted: (...args: Args) => boolean = () => true,
  deadlineMs = 10 * SECOND_MS,
): Promise<Args> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      stop()
      reject(new Error(`no ${name} within ${deadlineMs} ms`))
    }, deadlineMs)
    const stop = emitter.on(name as never, (...args: never[]) => {
      if (!wanted(...(args as unknown as Args))) return
      clearTimeout(timer)
      stop()
      resolve(args as unknown as Args)
    })
  })
}
