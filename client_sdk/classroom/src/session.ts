/** One stay in a room, as signals for the components: the SDK on one side, the page on the other. */

import { PasserelleError, Room, type Configure, type FallbackState, type Media, type MediaState, type Quality, type RemoteTrack, type RichText, type RoomDocument, type RoomView, type SharedDocument } from '@passerelle/client'
import { computed, signal } from '@preact/signals'
import { emptyMoment, gather, newTexts, sentenceOf } from './announcements.js'
import { keepChoice } from './device_memory.js'
import { listDevices, openDevices, problemTextHere, type DeviceChoice } from './devices.js'
import { errorText, fill, t } from './i18n.js'
import { momentWords } from './moment_words.js'
import { OpenTexts, firstText, textsOf } from './open_texts.js'
import { PictureLayout } from './live/picture_layout.js'
import { byTile } from './live/quality.js'
import { Thrift } from './live/thrift.js'
import { forgetPlace, keepPlace, type Place } from './places.js'

export type Stage = 'entering' | 'waiting' | 'inside' | 'denied' | 'removed' | 'left' | 'refused'

/** A yes-or-no that waits for its answer. The browser's own `confirm` would stop the page, sound and all. */
export interface Question {
  text: string
  yes: string
  answer: (yes: boolean) => void
}

/** A time without an adult, in seconds since the epoch. */
export interface Pause {
  since: number
  until: number
}

const noticeMs = 6_000
/** Who comes in later than this after a pause is not told of it. */
const reportMs = 10 * 60_000
/** What happens within this time is announced together. */
const momentMs = 1_500
/** A bad line is told of again after this long. */
const saidAgainMs = 120_000

export class Session {
  readonly room: Room
  readonly pictures: PictureLayout
  readonly thrift: Thrift
  readonly stage = signal<Stage>('entering')
  readonly view = signal<RoomView | null>(null)
  readonly connected = signal(false)
  readonly polling = signal(false)
  readonly mediaState = signal<MediaState>('idle')
  /** Whether voice goes by the connection that works, for want of a better way; or would. */
  readonly fallback = signal<FallbackState>('off')
  readonly speakers = signal<readonly string[]>([])
  readonly remote = signal<ReadonlyMap<string, RemoteTrack>>(new Map())
  /** How well what others send arrives, by participant (the worse of picture and sound) and by screen's track. */
  readonly qualities = signal<ReadonlyMap<string, Quality>>(new Map())
  /** Rises with each change of the local tracks, whose list is the SDK's. */
  readonly localVersion = signal(0)
  /** The name of the text on screen. */
  readonly text = signal(firstText)
  /** A text that somebody has just made, until it is opened or waved away. */
  readonly newText = signal<RoomDocument | null>(null)
  readonly notice = signal<string | null>(null)
  /** Lines of the chat that the server has not taken yet. */
  readonly unsentLines = signal<readonly string[]>([])
  /** For screen readers, one sentence at a time. */
  readonly announcement = signal('')
  /** No adult is there: the room stands still. */
  readonly isFrozen = signal(false)
  /** A pause in their absence, for the host who came back from it, until they have read it. */
  readonly pauseReport = signal<Pause | null>(null)
  readonly refusal = signal<string>('other')
  readonly question = signal<Question | null>(null)
  /** Sounds that the browser holds back until the page is touched: how to start each. */
  readonly silenced = signal<readonly (() => void)[]>([])
  /** The loudspeaker's id; '' is the usual one. */
  readonly speaker = signal('')
  /** Another device in the same place gives the sound. */
  readonly withoutSound = signal(false)
  readonly detailedSound = signal(false)
  /** The tile that this page alone shows large: a participant's id, or a screen's track. */
  readonly pinned = signal<string | null>(null)
  /** One picture and the text, for the back of the class. */
  readonly isProjector = signal(false)
  camera: MediaStreamTrack | null = null
  microphone: MediaStreamTrack | null = null
  /** Whether the chat is on screen, and its lines read as they come. */
  chatShown = false
  /** What stands in the text on screen; null while there is none. */
  readShownText: (() => RichText) | null = null
  readonly self = computed(() => this.view.value?.participants.find((one) => one.id === this.view.value?.self_id) ?? null)
  readonly texts = computed(() => textsOf(this.view.value, this.text.value, t('mainText')))
  readonly #openTexts: OpenTexts<SharedDocument>
  readonly #off: (() => void)[] = []
  #place: Place
  #choice: DeviceChoice | null = null
  /** Unplugged in the middle of the session: opened again when it is back. */
  readonly #unplugged = new Map<'camera' | 'microphone', string>()
  readonly #opening = { camera: Promise.resolve(), microphone: Promise.resolve() }
  #configuring: Promise<unknown> = Promise.resolve()
  readonly #devicesChanged = () => void this.#followDevices()
  #noticeTimer: ReturnType<typeof setTimeout> | undefined
  readonly #saidPoorAt = new Map<string, number>()
  #moment = emptyMoment()
  #momentTimer: ReturnType<typeof setTimeout> | undefined

  constructor(place: Place) {
    this.#place = place
    this.room = new Room({ token: place.token })
    this.text.value = place.text ?? firstText
    const { room } = this
    // A private meeting leaves nothing on the device, not even until the server says what kind of room it is.
    this.#openTexts = new OpenTexts((name) => room.document(name, { persist: place.kind !== 'consultation', paragraph: true }))
    this.pictures = new PictureLayout((tracks) => this.media.setLayout(tracks))
    this.thrift = new Thrift(this.media, this.pictures)
    this.#off.push(
      room.on('connection', (state, transport) => {
        this.connected.value = state === 'connected'
        if (this.connected.value && this.notice.value === t('whenBack')) this.notice.value = null
        this.polling.value = transport === 'polling'
      }),
      room.on('lobby', (state) => {
        if (state === 'waiting') this.stage.value = 'waiting'
        if (state === 'denied') this.#end('denied')
      }),
      room.on('view', (view) => this.#viewChanged(view)),
      room.on('frozen', (isFrozen) => {
        if (!isFrozen && this.isFrozen.value) this.announcement.value = t('pauseOver')
        this.isFrozen.value = isFrozen
      }),
      room.on('chat', (line) => {
        if (this.chatShown || line.participant_id === this.view.value?.self_id) return
        this.#moment.wrote.push(line.name)
        this.#announceSoon()
      }),
      room.on('removed', (reason) => this.#end(reason === 'denied' ? 'denied' : 'removed')),
      room.on('token', (token) => this.#keep({ token })),
      room.on('error', (error) => {
        // The place itself is refused (its token ran out while the lid was closed): nothing comes back by itself.
        if (room.connectionState === 'closed') this.#refuse(error.code)
        else this.notify(errorText(error.code))
      }),
    )
    this.#followMedia(room.media)
    navigator.mediaDevices?.addEventListener('devicechange', this.#devicesChanged)
  }

  /** As it is kept: with the newest token. */
  get place(): Place {
    return this.#place
  }

  /** Connect; afterwards `stage` says where we are. `choice`: devices to open if none are open (a reload). */
  async enter(choice: DeviceChoice | null): Promise<void> {
    this.stage.value = 'entering'
    this.#choice = choice
    if (choice) {
      this.speaker.value = choice.speakerId ?? ''
      this.withoutSound.value = choice.withoutSound ?? false
      this.media.setWithoutSound(this.withoutSound.value)
      this.detailedSound.value = choice.detailedSound ?? false
      this.media.setDetailedSound(this.detailedSound.value)
    }
    try {
      await this.room.connect()
    } catch (error) {
      const code = error instanceof PasserelleError ? error.code : 'other'
      if (code === 'closed') return // this page is going away
      if (code === 'removed' || code === 'denied') return this.#end(code)
      this.#refuse(code)
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
    // A command waits for the connection: without a word a button would seem to do nothing.
    if (this.stage.value === 'inside' && !this.connected.value) this.notify(t('whenBack'))
    try {
      await work()
      return true
    } catch (error) {
      this.notify(errorText(error instanceof PasserelleError ? error.code : 'other'))
      return false
    }
  }

  /** A line of the chat. Whether it was sent; until then it is one of `unsentLines`. */
  async sendChat(line: string): Promise<boolean> {
    this.unsentLines.value = [...this.unsentLines.value, line]
    const isSent = await this.attempt(() => this.room.sendChat(line))
    const sent = this.unsentLines.value.indexOf(line)
    this.unsentLines.value = this.unsentLines.value.filter((_, index) => index !== sent)
    return isSent
  }

  /** One change of the settings after the other, each made of what the one before has left. Whether it was taken. */
  configure(change: (settings: RoomView['settings']) => Configure): Promise<boolean> {
    const configured = this.#configuring.then(() => {
      const settings = this.view.value?.settings
      return settings ? this.attempt(() => this.room.configure(change(settings))) : false
    })
    this.#configuring = configured
    return configured
  }

  /** Resolves with the answer. */
  ask(text: string, yes: string): Promise<boolean> {
    this.question.value?.answer(false)
    return new Promise((resolve) => {
      const answer = (said: boolean) => {
        this.question.value = null
        resolve(said)
      }
      this.question.value = { text, yes, answer }
    })
  }

  /** The shared document of that name, the same object for as long as it is open. */
  sharedText(name: string): SharedDocument {
    return this.#openTexts.use(name)
  }

  showText(name: string): void {
    if (this.newText.value?.document === name) this.newText.value = null
    if (name === this.text.value) return
    this.text.value = name
    this.#keep({ text: name })
  }

  /** A new text for everyone, and it is shown. Whether that was done. */
  makeText(title: string, template: RichText | null): Promise<boolean> {
    return this.attempt(async () => this.showText((await this.room.createDocument(title, template)).document))
  }

  /** Another title. The room's first text has none until it is given one. */
  renameText(name: string, title: string): Promise<boolean> {
    const isListed = this.view.value?.documents.some(({ document }) => document === name) ?? false
    return this.attempt(async () => {
      if (isListed) await this.room.renameDocument(name, title)
      else await this.room.createDocument(title, null, name)
    })
  }

  keepWriteRight(canWrite: boolean): void {
    if (canWrite !== this.#place.canWrite) this.#keep({ canWrite })
  }

  /** One more sound waits for the page to be touched. */
  soundHeldBack(start: () => void): void {
    this.silenced.value = [...this.silenced.value.filter((other) => other !== start), start]
  }

  soundGone(start: () => void): void {
    if (this.silenced.value.includes(start)) this.silenced.value = this.silenced.value.filter((other) => other !== start)
  }

  /** In answer to a touch of the page, or the browser refuses again. */
  startSounds(): void {
    const waiting = this.silenced.value
    this.silenced.value = []
    for (const start of waiting) start()
  }

  /** Another camera or microphone, in place of the present one or as the first; null: none. */
  async useDevice(source: 'camera' | 'microphone', id: string | null): Promise<void> {
    this.#unplugged.delete(source)
    await this.#open(source, id)
    if (id === null || this[source]) this.#keepDevice(source, this[source])
  }

  useSpeaker(id: string): void {
    this.speaker.value = id
    keepChoice(this.#place.room, { speakerId: id })
  }

  /** Hear nothing from this device and say nothing into it, or both again. */
  async setWithoutSound(isOn: boolean): Promise<void> {
    this.withoutSound.value = isOn
    this.media.setWithoutSound(isOn)
    keepChoice(this.#place.room, { withoutSound: isOn })
    this.#unplugged.delete('microphone')
    if (this.can('publish_audio')) await this.#open('microphone', isOn ? null : (this.#choice?.microphoneId ?? ''))
  }

  /** Say it all, as the microphone hears it, or as conversations are usually sent. */
  async setDetailedSound(isOn: boolean): Promise<void> {
    this.detailedSound.value = isOn
    this.media.setDetailedSound(isOn)
    keepChoice(this.#place.room, { detailedSound: isOn })
    if (this.microphone) await this.#open('microphone', this.microphone.getSettings().deviceId ?? '')
  }

  /** One after the other: of two at once both would be sent, or the earlier choice could be the one that stays. */
  #open(source: 'camera' | 'microphone', id: string | null): Promise<void> {
    const opened = this.#opening[source].then(() => this.#openNext(source, id))
    this.#opening[source] = opened.catch(() => undefined)
    return opened
  }

  async #openNext(source: 'camera' | 'microphone', id: string | null): Promise<void> {
    const local = this.media.localTracks.find((one) => one.source === source)
    if (id === null) {
      if (local) await this.attempt(() => this.media.unpublish(local.id))
      this[source]?.stop()
      this[source] = null
      return
    }
    const opened = await openDevices(source === 'camera' ? id : null, source === 'microphone' ? id : null, this.detailedSound.value)
    const track = opened[source]
    if (opened.problem) this.notify(t(problemTextHere[opened.problem]))
    if (!track) return
    if (this.stage.value !== 'inside') return track.stop() // who has left meanwhile leaves no camera on
    const old = this[source]
    this.#hold(source, track)
    await this.attempt(() => (local ? this.media.replace(local.id, track) : this.media.publish(track, source)))
    old?.stop()
  }

  async leave(): Promise<void> {
    this.stage.value = 'left'
    // The next pupil at this tablet must not find the place of the one before.
    if (this.#place.role === 'pupil') forgetPlace(this.#place.room)
    await this.attempt(() => this.room.leave())
    this.close()
  }

  close(): void {
    this.pictures.close()
    this.thrift.close()
    for (const off of this.#off) off()
    navigator.mediaDevices?.removeEventListener('devicechange', this.#devicesChanged)
    clearTimeout(this.#noticeTimer)
    clearTimeout(this.#momentTimer)
    this.room.close()
    this.#letGo()
    for (const track of this.media.localTracks) track.mediaStreamTrack.stop()
  }

  #letGo(): void {
    this.camera?.stop()
    this.microphone?.stop()
  }

  async #startMedia(): Promise<void> {
    if (!this.can('subscribe_media') && !this.can('publish_audio')) return
    if (this.#choice && !this.camera && !this.microphone) {
      const { cameraId, microphoneId } = this.#choice
      const { camera, microphone } = await openDevices(cameraId, this.withoutSound.value ? null : microphoneId, this.detailedSound.value)
      this.camera = camera
      this.microphone = microphone
      if (this.stage.value !== 'inside') return this.#letGo() // who has left meanwhile leaves no camera on
    }
    for (const source of ['microphone', 'camera'] as const) {
      const track = this[source]
      if (!track || !this.can(source === 'camera' ? 'publish_video' : 'publish_audio')) continue
      this.#hold(source, track)
      void this.attempt(() => this.media.publish(track, source))
    }
    await this.attempt(() => this.media.start())
  }

  /** Ours from now on; when it is unplugged the page says so, and its button opens another. */
  #hold(source: 'camera' | 'microphone', track: MediaStreamTrack): void {
    this[source] = track
    track.addEventListener('ended', () => {
      if (this[source] !== track || this.stage.value !== 'inside') return
      const { deviceId } = track.getSettings()
      void this.#open(source, null)
      if (deviceId) this.#unplugged.set(source, deviceId)
      this.notify(t(source === 'camera' ? 'cameraLost' : 'microphoneLost'))
    })
  }

  /** What comes back is used again, and a loudspeaker that is gone leaves the usual one. */
  async #followDevices(): Promise<void> {
    const { cameras, microphones, speakers } = await listDevices()
    if (this.stage.value !== 'inside') return
    for (const [source, list] of [['camera', cameras], ['microphone', microphones]] as const) {
      const id = this.#unplugged.get(source)
      if (id && list.some(({ deviceId }) => deviceId === id)) void this.useDevice(source, id)
    }
    if (this.speaker.value && !speakers.some(({ deviceId }) => deviceId === this.speaker.value)) this.speaker.value = ''
  }

  #keepDevice(source: 'camera' | 'microphone', track: MediaStreamTrack | null): void {
    const id = track === null ? null : (track.getSettings().deviceId ?? '')
    const change = source === 'camera' ? { cameraId: id } : { microphoneId: id }
    if (this.#choice) this.#choice = { ...this.#choice, ...change }
    keepChoice(this.#place.room, change)
  }

  #keep(change: Partial<Place>): void {
    this.#place = { ...this.#place, ...change, at: Date.now() }
    keepPlace(this.#place)
  }

  #refuse(code: string): void {
    if (this.stage.value === 'left') return
    this.refusal.value = code
    this.stage.value = 'refused'
  }

  #end(stage: 'denied' | 'removed'): void {
    if (this.stage.value === 'left') return
    this.stage.value = stage
    forgetPlace(this.#place.room)
    this.close()
  }

  #viewChanged(view: RoomView): void {
    const before = this.view.value
    this.view.value = view
    if (before) {
      gather(this.#moment, before, view)
      this.#announceSoon()
      const made = newTexts(before, view).at(-1)
      if (made && made.document !== this.text.value) this.newText.value = made
    }
    this.#reportPause(before, view)
    this.#keepWhoWeAre(view)
    if (this.stage.value === 'entering' || this.stage.value === 'waiting') {
      this.stage.value = 'inside'
      void this.#startMedia()
    }
  }

  #reportPause(before: RoomView | null, { freeze, permissions }: RoomView): void {
    if (!freeze || freeze.until === null || !permissions.includes('admit')) return
    const { since, until } = freeze
    const isNew = before?.freeze?.since !== since && Date.now() - until * 1_000 < reportMs
    if (isNew) this.pauseReport.value = { since, until }
  }

  /** What the room says of us, for the next page: a host's link brings no name of its own. */
  #keepWhoWeAre(view: RoomView): void {
    const name = this.self.value?.name ?? this.#place.name
    const { room, self_id: participantId, role } = view
    const { place } = this
    if (
      place.wasInside &&
      place.roomName === room.name &&
      place.kind === room.kind &&
      place.name === name &&
      place.participantId === participantId &&
      place.role === role
    ) {
      return
    }
    this.#keep({ wasInside: true, roomName: room.name, kind: room.kind, name, participantId, role })
  }

  #qualityChanged(found: ReadonlyMap<string, Quality>): void {
    const before = this.qualities.value
    const after = byTile(this.view.value?.tracks ?? [], found)
    this.qualities.value = after
    const now = Date.now()
    const turned = (this.view.value?.participants ?? []).filter(({ id }) => after.get(id) === 'poor' && before.get(id) !== 'poor')
    // Said once, and not again with each gust.
    const [first, ...others] = turned.filter(({ id }) => now - (this.#saidPoorAt.get(id) ?? 0) >= saidAgainMs)
    if (first === undefined) return
    for (const { id } of turned) this.#saidPoorAt.set(id, now)
    this.announcement.value = others.length > 0 ? t('sayAllPoor') : fill('sayPoor', { name: first.name })
  }

  #announceSoon(): void {
    if (this.#momentTimer !== undefined || !sentenceOf(this.#moment, momentWords)) return
    this.#momentTimer = setTimeout(() => {
      this.announcement.value = sentenceOf(this.#moment, momentWords)
      this.#moment = emptyMoment()
      this.#momentTimer = undefined
    }, momentMs)
  }

  #followMedia(media: Media): void {
    const remoteChanged = () => (this.remote.value = new Map(media.remoteTracks))
    this.#off.push(
      media.on('state', (state) => (this.mediaState.value = state)),
      media.on('fallback', (state) => (this.fallback.value = state)),
      media.on('remoteTrack', remoteChanged),
      media.on('remoteTrackEnded', remoteChanged),
      media.on('localTracks', () => (this.localVersion.value += 1)),
      media.on('quality', (found) => this.#qualityChanged(found)),
      media.on('speakers', (ids) => (this.speakers.value = ids)),
      media.on('mutedByHost', () => this.notify(t('mutedByHost'))),
    )
  }
}
