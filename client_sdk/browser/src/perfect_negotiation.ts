/**
 * Perfect negotiation between two browsers (W3C webrtc-pc, "Perfect negotiation example").
 *
 * Everything is done one after the other, in the order in which it was asked for or arrived: so an
 * offer collides only with one of ours that is on its way. The polite side then takes its own back
 * (`setRemoteDescription` rolls back by itself), the impolite one ignores the other's.
 */

/** The part of RTCPeerConnection that negotiates. */
export type Negotiator = Pick<
  RTCPeerConnection,
  'signalingState' | 'localDescription' | 'setLocalDescription' | 'setRemoteDescription' | 'addIceCandidate'
>

export interface NegotiationOptions {
  polite: boolean
  /** Their description as we go by it. */
  read?: (description: RTCSessionDescriptionInit) => RTCSessionDescriptionInit
  /** An offer was taken, and is about to be answered. */
  answering?: () => void
  /** Send the local description; an answer carries the number of its offer. */
  send: (negotiation: number, description: RTCSessionDescription) => void
}

/** What became of a description that arrived. */
export type Outcome = 'applied' | 'ignored'

export class PerfectNegotiation {
  readonly #pc: Negotiator
  readonly #options: NegotiationOptions
  #queue: Promise<unknown> = Promise.resolve()
  #offerNumber = 0
  #remoteOfferNumber = 0
  /** Candidates that follow belong to an offer that was ignored. */
  #isIgnoring = false

  constructor(pc: Negotiator, options: NegotiationOptions) {
    this.#pc = pc
    this.#options = options
  }

  /** Something to negotiate about (the event negotiationneeded), or an answer that never came. */
  negotiate(): Promise<void> {
    return this.#inTurn(async () => {
      // An offer of theirs is answered in the same turn, so there is never one without an answer here.
      await this.#pc.setLocalDescription()
      const description = this.#pc.localDescription
      if (description === null || description.type !== 'offer') return
      this.#offerNumber += 1
      this.#options.send(this.#offerNumber, description)
    })
  }

  /** Whether an offer of ours is unanswered. */
  get isWaiting(): boolean {
    return this.#pc.signalingState === 'have-local-offer'
  }

  receiveDescription(negotiation: number, description: RTCSessionDescriptionInit): Promise<Outcome> {
    return this.#inTurn(async () =>
      description.type === 'offer' ? this.#receiveOffer(negotiation, description) : this.#receiveAnswer(negotiation, description),
    )
  }

  receiveCandidate(candidate: RTCIceCandidateInit | null): Promise<void> {
    return this.#inTurn(async () => {
      try {
        await this.#pc.addIceCandidate(candidate ?? undefined)
      } catch (error) {
        if (!this.#isIgnoring) throw error
      }
    })
  }

  async #receiveOffer(negotiation: number, description: RTCSessionDescriptionInit): Promise<Outcome> {
    if (negotiation <= this.#remoteOfferNumber) return 'ignored' // sent again after a cut
    this.#isIgnoring = !this.#options.polite && this.#pc.signalingState !== 'stable'
    if (this.#isIgnoring) return 'ignored'
    this.#remoteOfferNumber = negotiation
    await this.#take(description)
    this.#options.answering?.()
    await this.#pc.setLocalDescription()
    const answer = this.#pc.localDescription
    if (answer !== null) this.#options.send(negotiation, answer)
    return 'applied'
  }

  async #receiveAnswer(negotiation: number, description: RTCSessionDescriptionInit): Promise<Outcome> {
    if (negotiation !== this.#offerNumber || this.#pc.signalingState !== 'have-local-offer') return 'ignored'
    await this.#take(description)
    return 'applied'
  }

  #take(description: RTCSessionDescriptionInit): Promise<void> {
    return this.#pc.setRemoteDescription(this.#options.read?.(description) ?? description)
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#queue.then(work)
    // What went wrong is its caller's to know; the next turn comes all the same.
    this.#queue = turn.catch(() => undefined)
    return turn
  }
}
