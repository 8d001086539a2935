import { PasserelleApi, type Invitation, type RoleName, type RoomKind } from '@passerelle/client'
import { Maximize2 } from 'lucide-preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { encode } from 'uqr'
import { t } from '../i18n.js'
import { CopyButton } from '../pages/CopyButton.js'
import type { Session } from '../session.js'
import { nameOf, offered, purposeOf } from './invited.js'
import { PanelHeader } from './PanelHeader.js'

/** Links and codes, by kind of people: the first of each kind is one press. */
export function InvitePanel({ session, onClose }: { session: Session; onClose: () => void }) {
  const [invitations, setInvitations] = useState<Invitation[] | null>(null)
  const [label, setLabel] = useState('')
  const kind = session.view.value?.room.kind ?? 'interclass'
  const roles = offered[kind]
  const [role, setRole] = useState<RoleName>(roles[0] ?? 'class')
  const [made, setMade] = useState<string | null>(null)
  const list = useRef<HTMLUListElement>(null)
  const api = new PasserelleApi()
  const { room } = session.place
  // Asked for at each use: a token is renewed while the panel is open.
  const token = () => session.place.token
  const asked = useRef(0)
  const refresh = () =>
    session.attempt(async () => {
      const turn = ++asked.current
      const all = await api.listInvitations(room, token())
      if (turn !== asked.current) return // a later list is on its way: this one may lack what was made since
      setInvitations(all.filter((one) => !one.revoked && one.expires_at * 1_000 > Date.now()))
    })
  useEffect(() => void refresh(), [])
  useEffect(() => {
    if (made) list.current?.querySelector(`[data-id="${CSS.escape(made)}"]`)?.scrollIntoView({ block: 'nearest' })
  }, [made, invitations])
  const isMaking = useRef(false)
  const create = async (event: Event) => {
    event.preventDefault()
    if (isMaking.current) return // pressed twice: one code, not two
    isMaking.current = true
    await session.attempt(async () => {
      const invitation = await api.createInvitation(room, token(), { role, label })
      setMade(invitation.id)
      setLabel((present) => (present === label ? '' : present))
      session.notify(t('invitationMade'))
    })
    isMaking.current = false
    await refresh()
  }
  const revoke = async (id: string) => {
    if (!(await session.ask(t('revokeQuestion'), t('revoke')))) return
    await session.attempt(async () => {
      if (!(await api.revokeInvitation(room, token(), id))) session.notify(t('notConfirmed'))
    })
    await refresh()
  }
  return (
    <>
      <PanelHeader title={t('inviteTitle')} onClose={onClose} />
      <div class="panel-body">
        <form class="invite-form" onSubmit={(event) => void create(event)}>
          <label>
            {t('newInvitation')}
            <select data-testid="invite-role" aria-describedby="invite-for" value={role} onChange={(event) => setRole(event.currentTarget.value as RoleName)}>
              {roles.map((one) => (
                <option key={one} value={one}>
                  {t(nameOf(kind, one))}
                </option>
              ))}
            </select>
            <small id="invite-for">{t(purposeOf(kind, role))}</small>
          </label>
          <label>
            {t('label')}
            <input data-testid="invite-label" value={label} maxLength={60} placeholder={t(kind === 'consultation' ? 'labelExamplePrivate' : 'labelExample')} onInput={(event) => setLabel(event.currentTarget.value)} autocomplete="off" />
          </label>
          <button type="submit" class="primary" data-testid="invite-create">
            {t('create')}
          </button>
        </form>
        {invitations?.length === 0 && <p class="quiet-text">{t('noInvitation')}</p>}
        <ul class="invitations" ref={list} aria-busy={invitations === null}>
          {invitations?.map((one) => (
            <InvitationCard
              key={one.id}
              invitation={one}
              kind={kind}
              isNew={one.id === made}
              onRevoke={() => void revoke(one.id)}
            />
          ))}
        </ul>
      </div>
    </>
  )
}

function InvitationCard({ invitation, kind, isNew, onRevoke }: { invitation: Invitation; kind: RoomKind; isNew: boolean; onRevoke: () => void }) {
  const big = useRef<HTMLDialogElement>(null)
  return (
    <li class={`invitation ${isNew ? 'new' : ''}`} data-testid="invitation" data-role={invitation.role} data-id={invitation.id}>
      <p class="invitation-head">
        <strong>{invitation.label || t(nameOf(kind, invitation.role))}</strong>
        <small>
          {t(`role_${invitation.role}`)} · {invitation.lobby ? t('waitsAtDoor') : t('entersDirectly')}
        </small>
      </p>
      <p class="big-code" data-testid="invitation-code">
        {invitation.code}
      </p>
      <div class="actions">
        <button type="button" class="small primary" data-testid="show-big" onClick={() => big.current?.showModal()}>
          <Maximize2 aria-hidden="true" /> {t('showBig')}
        </button>
        <CopyButton text={invitation.url} label={t('copyLink')} test="copy-link" />
        <CopyButton text={invitation.code} label={t('copyCode')} test="copy-code" />
        <button type="button" class="small quiet" onClick={onRevoke} data-testid="revoke">
          {t('revoke')}
        </button>
      </div>
      <dialog ref={big} class="projector-code" aria-label={t('showBig')}>
        <p>{t('scanOrType')}</p>
        <p class="address">{location.host}</p>
        <p class="huge-code">{invitation.code}</p>
        <QrCode text={invitation.url} />
        <form method="dialog">
          <button type="submit" class="secondary">
            {t('close')}
          </button>
        </form>
      </dialog>
    </li>
  )
}

function QrCode({ text }: { text: string }) {
  const { data, size } = encode(text, { border: 2 })
  const path = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ''))).join('')
  return (
    <svg class="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={t('qrCode')} shape-rendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#000" />
    </svg>
  )
}
