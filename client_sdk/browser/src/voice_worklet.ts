/** The microphone's samples, 20 ms at a time, out of the thread that plays and records. Runs in an AudioWorklet. */

declare const registerProcessor: undefined | ((name: string, processor: unknown) => void)
declare const sampleRate: number
declare class AudioWorkletProcessor {
  readonly port: MessagePort
}

/** Complete in itself: where the module cannot be loaded by its address, its source is what this prints. */
export function registerCapture(): void {
  class Capture extends AudioWorkletProcessor {
    readonly size = Math.round(sampleRate / 50)
    frame = new Float32Array(this.size)
    filled = 0

    process([input]: Float32Array[][]): boolean {
      const channels = input ?? []
      const samples = channels[0]
      if (samples === undefined) return true
      for (let n = 0; n < samples.length; n += 1) {
        let sum = 0
        for (const channel of channels) sum += channel[n] as number
        this.frame[this.filled] = sum / channels.length
        this.filled += 1
        if (this.filled < this.size) continue
        this.port.postMessage(this.frame, [this.frame.buffer])
        this.frame = new Float32Array(this.size)
        this.filled = 0
      }
      return true
    }
  }
  registerProcessor?.('passerelle-capture', Capture)
}

if (typeof registerProcessor !== 'undefined') registerCapture()
