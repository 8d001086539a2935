/** One stay in a room, as signals for the components: the SDK on one side, the page on the other. */

import { PasserelleError, Room, type Media, type MediaState, type RemoteTrack, type RoomView } from '@passerelle/client'
import { computed, signal } from '@preact/signals'
import { openDevices, type DeviceChoice } from './devices.js'
import { errorText, t } from './i18n.js'
import { forgetPlace, keepPlace, type Place } from './places.js'

export type Stage = 'checking' | 'entering' | 'waiting' | 'inside' | 'denied' | 'removed' | 'left' | 'refused'

const noticeMs = 6_000

export class Session {
  readonly place: Place
  readonly room: Room
  readonly stage = signal<Stage>('entering')
  readonly view = signal<RoomView | null>(null)
  readonly connected = signal(false)
  readonly polling = signal(false)
  readonly mediaState = signal<MediaState>('idle')
  readonly speakers = signal<readonly string[]>([])
  readonly remote = signal<ReadonlyMap<string, RemoteTrack>>(new Map())
  /** Rises with each change of the local tracks, whose list is the SDK's. */
  readonly localVersion = signal(0)
  readonly notice = signal<string | null>(null)
  /** For screen readers, one sentence at a time. */
  readonly announcement = signal('')
  readonly refusal = signal<string>('other')
  camera: MediaStreamTrack | null = null
  microphone: MediaStreamTrack | null = null
  readonly self = computed(() => this.view.value?.participants.find((one) => one.id === this.view.value?.self_id) ?? null)
  readonly #off: (() => void)[] = []
  #choice: DeviceChoice | null = null
  #noticeTimer: ReturnType<typeof setTimeout> | undefined
  #arrivals: string[] = []
  #arrivalTimer: ReturnType<typeof setTimeout> | undefined

  constructor(place: Place) {
    this.place = place
    this.room = new Room({ token: place.token })
    const { room } = this
    this.#off.push(
      room.on('connection', (state, transport) => {
        this.connected.value = state === 'connected'
        this.polling.value = transport === 'polling'
      }),
      room.on('lobby', (state) => {
        if (state === 'waiting') this.stage.value = 'waiting'
        if (state === 'denied') this.#end('denied')
      }),
      room.on('view', (view) => this.#viewChanged(view)),
      room.on('removed', (reason) => this.#end(reason === 'denied' ? 'denied' : 'removed')),
      room.on('token', (token) => keepPlace({ ...this.place, token, at: Date.now() })),
      room.on('error', (error) => this.notify(errorText(error.code))),
    )
    this.#followMedia(room.media)
  }

  /** Connect; afterwards `stage` says where we are. `choice`: devices to open if none are open (a reload). */
  async enter(choice: DeviceChoice | null): Promise<void> {
    this.stage.value = 'entering'
    this.#choice = choice
    try {
      await this.room.connect()
    } catch (error) {
      const code = error instanceof PasserelleError ? error.code : 'other'
      if (code === 'removed' || code === 'denied') return this.#end(code)
      this.refusal.value = code
      this.stage.value = 'refused'
    }
  }

  can(permission: Parameters<Room['can']>[0]): boolean {
    return this.view.value?.permissions.includes(permission) ?? false
  }

  get media(): Media {
    return this.room.media
  }

  notify(text: string): void {
    this.notice.value = text
    clearTimeout(this.#noticeTimer)
    this.#noticeTimer = setTimeout(() => (this.notice.value = null), noticeMs)
  }

  /** Run a command; what is refused is said, not thrown. */
  async attempt(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      this.notify(errorText(error instanceof PasserelleError ? error.code : 'other'))
      return false
    }
  }

  async startMedia(): Promise<void> {
    if (!this.can('subscribe_media') && !this.can('publish_audio')) return
    if (this.#choice && !this.camera && !this.microphone) {
      const { camera, microphone } = await openDevices(this.#choice.cameraId, this.#choice.microphoneId)
      this.camera = camera
      this.microphone = microphone
    }
    if (this.microphone && this.can('publish_audio')) void this.attempt(() => this.media.publish(this.microphone!, 'microphone'))
    if (this.camera && this.can('publish_video')) void this.attempt(() => this.media.publish(this.camera!, 'camera'))
    await this.attempt(() => this.media.start())
  }

  /** Another camera or microphone, in place of the present one or as the first. */
  async useDevices(cameraId: string | null, microphoneId: string | null): Promise<void> {
    const { camera, microphone, problem } = await openDevices(cameraId, microphoneId)
    if (problem) this.notify(t(problem === 'refused' ? 'cameraRefused' : 'cameraMissing'))
    for (const [source, track, old] of [
      ['camera', camera, this.camera],
      ['microphone', microphone, this.microphone],
    ] as const) {
      const wanted = source === 'camera' ? cameraId : microphoneId
      if (wanted === null || !track) continue
      const local = this.media.localTracks.find((one) => one.source === source)
      if (local) await this.attempt(() => this.media.replace(local.id, track))
      else await this.attempt(() => this.media.publish(track, source))
      old?.stop()
      this[source] = track
    }
  }

  async leave(): Promise<void> {
    this.stage.value = 'left'
    await this.attempt(() => this.room.leave())
    this.close()
  }

  close(): void {
    for (const off of this.#off) off()
    clearTimeout(this.#noticeTimer)
    clearTimeout(this.#arrivalTimer)
    this.room.close()
    this.camera?.stop()
    this.microphone?.stop()
    for (const track of this.media.localTracks) track.mediaStreamTrack.stop()
  }

  #end(stage: 'denied' | 'removed'): void {
    if (this.stage.value === 'left') return
    this.stage.value = stage
    forgetPlace(this.place.room)
    this.close()
  }

  #viewChanged(view: RoomView): void {
    const first = this.view.value === null
    if (!first) this.#announceArrivals(this.view.value!, view)
    this.view.value = view
    if (this.stage.value === 'entering' || this.stage.value === 'waiting') {
      this.stage.value = 'inside'
      void this.startMedia()
    }
  }

  /** Thirty pupils who arrive together are one announcement. */
  #announceArrivals(before: RoomView, after: RoomView): void {
    const known = new Set(before.participants.map((one) => one.id))
    this.#arrivals.push(...after.participants.filter((one) => !known.has(one.id)).map((one) => one.name))
    if (!this.#arrivals.length || this.#arrivalTimer) return
    this.#arrivalTimer = setTimeout(() => {
      const names = this.#arrivals.splice(0)
      this.#arrivalTimer = undefined
      this.announcement.value = names.length === 1 ? `${names[0]} ${t('joined')}` : `${names.length} ${t('manyJoined')}`
    }, 1_500)
  }

  #followMedia(media: Media): void {
    const remoteChanged = () => (this.remote.value = new Map(media.remoteTracks))
    this.#off.push(
      media.on('state', (state) => (this.mediaState.value = state)),
      media.on('remoteTrack', remoteChanged),
      media.on('remoteTrackEnded', remoteChanged),
      media.on('localTracks', () => (this.localVersion.value += 1)),
      media.on('speakers', (ids) => (this.speakers.value = ids)),
      media.on('mutedByHost', () => this.notify(t('mutedByHost'))),
    )
  }
}
