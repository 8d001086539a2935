/** « Mode campagne »: sound always, one small picture, and what that spares, counted. */

import type { Media } from '@passerelle/client'
import { computed, signal } from '@preact/signals'
import { onDevice } from '../keeping.js'
import { DataMeter } from './data_meter.js'
import type { PictureLayout } from './picture_layout.js'

const stored = 'passerelle.thrifty'
const sampleMs = 2_000
/** The smallest layer of a camera; nothing larger is asked for. */
const smallPicture = { width: 320, height: 180 }

export class Thrift {
  readonly isOn = signal(onDevice.getItem(stored) === 'yes')
  /** Bytes; null: not known. */
  readonly spared = signal<number | null>(null)
  readonly used = signal(0)
  /** In whole megabytes. */
  readonly sparedMegabytes = computed(() => (this.spared.value === null ? null : Math.round(this.spared.value / 1e6)))
  readonly usedMegabytes = computed(() => Math.round(this.used.value / 1e6))
  readonly #media: Media
  readonly #pictures: PictureLayout
  readonly #meter = new DataMeter()
  readonly #timer: ReturnType<typeof setInterval>

  constructor(media: Media, pictures: PictureLayout) {
    this.#media = media
    this.#pictures = pictures
    if (this.isOn.value) this.#apply()
    this.#timer = setInterval(() => void this.#sample(), sampleMs)
  }

  set(isOn: boolean): void {
    // What passed until now belongs to the mode of until now.
    void this.#sample()
    this.isOn.value = isOn
    onDevice.setItem(stored, isOn ? 'yes' : 'no')
    this.#apply()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #apply(): void {
    this.#pictures.setLimit(this.isOn.value ? smallPicture : null)
    void this.#media.setSendsSmall(this.isOn.value)
  }

  async #sample(): Promise<void> {
    const wasOn = this.isOn.value
    const bytes = await this.#media.transferredBytes()
    this.#meter.sample(bytes, performance.now(), wasOn)
    this.used.value = this.#meter.usedBytes
    this.spared.value = this.#meter.sparedBytes
  }
}

/** Whose picture is the one that is shown: who speaks, or spoke last, or the first. `cameras`: of the others. */
export function onePicture(cameras: readonly string[], speakers: readonly string[], before: string | null): string | null {
  return speakers.find((id) => cameras.includes(id)) ?? (before !== null && cameras.includes(before) ? before : (cameras[0] ?? null))
}
