/** A promise that is settled from outside. */
export class Deferred<Value> {
  readonly promise: Promise<Value>
  resolve!: (value: Value) => void
  reject!: (error: Error) => void

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // Rejected before anybody waits, it is no uncaught error.
    this.promise.catch(() => undefined)
  }
}
