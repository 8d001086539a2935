/** The shape of an event map: names to listeners. */
type Listeners<Events> = { [Name in keyof Events]: (...args: never[]) => void }

/**
 * A typed emitter. A listener that throws harms neither the others nor the emitter: its error is
 * reported as an uncaught one, as for DOM events.
 */
export class Emitter<Events extends Listeners<Events>> {
  readonly #listeners = new Map<keyof Events, Set<Events[keyof Events]>>()

  /** Listen. Returns the function that ends it. */
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void {
    let listeners = this.#listeners.get(name)
    if (listeners === undefined) this.#listeners.set(name, (listeners = new Set()))
    // Wrapped, so that the same function added twice is two listeners, each with its own end.
    const wrapped = ((...args: never[]) => listener(...args)) as Events[Name]
    listeners.add(wrapped)
    return () => listeners.delete(wrapped)
  }

  /** For the owner of the emitter. */
  protected emit<Name extends keyof Events>(name: Name, ...args: Parameters<Events[Name]>): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(...args)
      } catch (error) {
        reportUncaught(error)
      }
    }
  }
}

function reportUncaught(error: unknown): void {
  if (typeof reportError === 'function') reportError(error)
  else
    queueMicrotask(() => {
      throw error
    })
}
