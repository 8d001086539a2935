import type { PasserelleError } from './errors.js'
import { FallbackWatch } from './fallback_watch.js'
import type { PublishedLocalTrack } from './local_track.js'
import type { LinkHost } from './media_link.js'
import type { Connectivity } from './peer_connection.js'
import { VoiceAudio, VoiceCapture, VoicePlayer, canCarryVoice } from './voice_audio.js'
import { VoiceChannel } from './voice_channel.js'
import type { VoiceFrame } from './voice_packet.js'

/**
 * - `off`: media have their own way, or look for it;
 * - `on`: voice goes by the connection that works;
 * - `unsupported`: it would, but this browser cannot encode sound by itself;
 * - `refused`: it would, but the room's media go a way that the server has no part in.
 */
export type FallbackState = 'off' | 'on' | 'unsupported' | 'refused'

const SAY_HEARD_MS = 200
const WEBSOCKET_INTERVAL_MS = 40
/** Each packet costs a request. */
const POLLING_INTERVAL_MS = 60

/** Voice by the signaling connection, for each direction whose peer connection leads nowhere. */
export class VoiceFallback {
  readonly #host: LinkHost
  readonly #sessionId: string
  readonly #changed: () => void
  readonly #sending: FallbackWatch
  readonly #hearing: FallbackWatch
  #refusal: 'unsupported' | 'refused' | null = null
  #audio: VoiceAudio | null = null
  #channel = new VoiceChannel()
  #capture: VoiceCapture | null = null
  #gathered: VoiceFrame[] = []
  readonly #players = new Map<string, VoicePlayer>()
  /** The wish as it was last said. */
  #said = 'off'
  #isSuspended = false
  #isClosed = false
  #bytes = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #sayingHeard: ReturnType<typeof setInterval> | undefined

  /** `changed` is called when `state`, a direction or the received tracks are others. */
  constructor(host: LinkHost, sessionId: string, changed: () => void) {
    this.#host = host
    this.#sessionId = sessionId
    this.#changed = changed
    this.#sending = new FallbackWatch(host.rememberedFallback())
    this.#hearing = new FallbackWatch(host.rememberedFallback())
  }

  get state(): FallbackState {
    if ((!this.#sending.isOn && !this.#hearing.isOn) || this.#host.isWithoutSound()) return 'off'
    return this.#refusal ?? 'on'
  }

  /** Whether our peer connection for sending leads nowhere now. */
  get isSending(): boolean {
    return this.#sending.isOn
  }

  get isHearing(): boolean {
    return this.#hearing.isOn && this.#refusal === null && !this.#host.isWithoutSound()
  }

  /** Track id → what comes this way. */
  get received(): ReadonlyMap<string, MediaStreamTrack> {
    return new Map([...this.#players].map(([id, { track }]) => [id, track]))
  }

  get transferredBytes(): number {
    return this.#bytes
  }

  /** How the peer connections stand. */
  update(publish: Connectivity, subscribe: Connectivity): void {
    if (this.#isClosed) return
    const now = Date.now()
    this.#sending.update(publish, now)
    this.#hearing.update(subscribe, now)
    this.#arm()
  }

  /** Our tracks, or whether they are muted, changed. */
  localTracksChanged(): void {
    void this.#settle()
  }

  receive(packet: Uint8Array): void {
    if (!this.isHearing || this.#audio === null) return
    this.#bytes += packet.length
    const runs = this.#channel.receive(packet)
    this.#sendPackets()
    const known = new Set(this.#host.remoteTracks().map(({ id }) => id))
    let isNew = false
    for (const { trackId, frames } of runs) {
      if (!known.has(trackId)) continue
      let player = this.#players.get(trackId)
      if (player === undefined) {
        player = new VoicePlayer(this.#audio, this.#host.log)
        this.#players.set(trackId, player)
        isNew = true
      }
      player.play(frames)
    }
    if (isNew) this.#changed()
  }

  /** The server refused our wish. */
  refused(error: PasserelleError): void {
    if (error.code !== 'media-unavailable') return
    this.#refuse('refused')
  }

  suspend(): void {
    this.#isSuspended = true
    this.#said = 'off'
    this.#channel = new VoiceChannel()
  }

  resume(): void {
    this.#isSuspended = false
    void this.#settle()
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#end()
  }

  // --- what goes on ---------------------------------------------------------------------------------

  #arm(): void {
    clearTimeout(this.#timer)
    const due = [this.#sending.nextTimer, this.#hearing.nextTimer].filter((each) => each !== null)
    if (due.length > 0) this.#timer = setTimeout(() => this.#handleTimer(), Math.max(0, Math.min(...due) - Date.now()))
  }

  #handleTimer(): void {
    const now = Date.now()
    const changes = [this.#sending.handleTimer(now), this.#hearing.handleTimer(now)]
    if (changes.includes(true)) {
      this.#host.log.debug('fallback', this.#sending.isOn ? 'sends' : '-', this.#hearing.isOn ? 'hears' : '-')
      this.#host.rememberFallback(this.#sending.ledNowhere || this.#hearing.ledNowhere)
      void this.#settle()
    }
    this.#arm()
  }

  /** Make it so. */
  async #settle(): Promise<void> {
    if (this.#isClosed || this.#refusal !== null || this.#isSuspended) return this.#changed()
    if (this.state === 'off') {
      this.#end()
      return this.#changed()
    }
    if (this.#audio === null && !(await canCarryVoice())) return this.#refuse('unsupported')
    if (this.#isClosed || this.state !== 'on') return
    this.#begin()
    this.#sayWish()
    await this.#capture?.open(this.#sending.isOn ? (this.#microphone()?.mediaStreamTrack ?? null) : null)
    if (!this.#hearing.isOn) this.#dropPlayers()
    this.#changed()
  }

  #begin(): void {
    if (this.#audio !== null) return
    this.#audio = new VoiceAudio()
    this.#channel = new VoiceChannel()
    this.#sayingHeard = setInterval(() => this.#housekeeping(), SAY_HEARD_MS)
    this.#capture = new VoiceCapture(
      this.#audio,
      (frame) => this.#gather(frame),
      () => this.#flush(),
      this.#host.log,
    )
  }

  #end(): void {
    clearInterval(this.#sayingHeard)
    if (this.#said !== 'off' && !this.#isSuspended && !this.#isClosed) this.#sayWish()
    this.#capture?.close()
    this.#capture = null
    this.#dropPlayers()
    this.#audio?.close()
    this.#audio = null
    this.#gathered = []
  }

  #refuse(why: 'unsupported' | 'refused'): void {
    this.#host.log.warn('no voice by the signaling connection', why)
    this.#refusal = why
    this.#said = 'off'
    this.#end()
    this.#changed()
  }

  #microphone(): PublishedLocalTrack | undefined {
    return this.#host.localTracks().find(({ source }) => source === 'microphone')
  }

  #sayWish(): void {
    const microphone = this.#sending.isOn ? this.#microphone() : undefined
    const wish = {
      session_id: this.#sessionId,
      track_id: microphone?.id ?? null,
      muted: microphone?.muted ?? false,
      listens: this.isHearing,
      interval_ms: this.#intervalMs(),
    }
    const said = JSON.stringify(wish)
    if (said === this.#said) return
    this.#said = wish.track_id === null && !wish.listens ? 'off' : said
    this.#host.signal('media_fallback', wish)
  }

  #intervalMs(): number {
    return this.#host.isPolling() ? POLLING_INTERVAL_MS : WEBSOCKET_INTERVAL_MS
  }

  #gather(frame: VoiceFrame): void {
    const last = this.#gathered.at(-1)
    if (last !== undefined && frame.timestamp - last.timestamp !== 960) this.#flush()
    this.#gathered.push(frame)
    if (this.#gathered.length * 20 >= this.#intervalMs()) this.#flush()
  }

  #flush(): void {
    const frames = this.#gathered
    const microphone = this.#microphone()
    if (frames.length === 0) return
    this.#gathered = []
    if (microphone === undefined || this.#isSuspended) return
    this.#channel.put({ trackId: microphone.id, frames })
    this.#sendPackets()
  }

  #sendPackets(): void {
    for (const packet of this.#channel.packetsToSend()) this.#send(packet)
  }

  #send(packet: Uint8Array): void {
    this.#bytes += packet.length
    this.#host.sendVoice(packet)
  }

  #housekeeping(): void {
    if (this.#isSuspended) return
    const heard = this.#channel.acknowledgementToSend()
    if (heard !== null) this.#send(heard)
    const known = new Set(this.#host.remoteTracks().map(({ id }) => id))
    for (const [id, player] of this.#players) {
      if (known.has(id)) continue
      player.close()
      this.#players.delete(id)
    }
    this.#sayWish() // the transport may be another
  }

  #dropPlayers(): void {
    for (const player of this.#players.values()) player.close()
    this.#players.clear()
  }
}
