import { PasserelleApi, type Invitation, type RoleName } from '@passerelle/client'
import { useEffect, useRef, useState } from 'preact/hooks'
import { encode } from 'uqr'
import { t } from '../i18n.js'
import type { Session } from '../session.js'
import { PanelHeader } from './PanelHeader.js'

const offered: Record<string, RoleName[]> = {
  interclass: ['class', 'pupil', 'guest', 'observer', 'host'],
  community: ['guest', 'class', 'observer', 'host'],
  consultation: ['pupil', 'guest', 'host'],
}

/** Links and codes, by kind of people: the first of each kind is one press. */
export function InvitePanel({ session, onClose }: { session: Session; onClose: () => void }) {
  const [invitations, setInvitations] = useState<Invitation[] | null>(null)
  const [label, setLabel] = useState('')
  const kind = session.view.value?.room.kind ?? 'interclass'
  const roles = offered[kind] ?? []
  const [role, setRole] = useState<RoleName>(roles[0] ?? 'class')
  const api = new PasserelleApi()
  const { room } = session.place
  const token = session.place.token
  const refresh = () =>
    session.attempt(async () => {
      const all = await api.listInvitations(room, token)
      setInvitations(all.filter((one) => !one.revoked && one.expires_at * 1_000 > Date.now()))
    })
  useEffect(() => void refresh(), [])
  const create = async (event: Event) => {
    event.preventDefault()
    await session.attempt(() => api.createInvitation(room, token, { role, label }))
    setLabel('')
    await refresh()
  }
  return (
    <>
      <PanelHeader title={t('inviteTitle')} onClose={onClose} />
      <div class="panel-body">
        <form class="invite-form" onSubmit={(event) => void create(event)}>
          <p>{t('inviteHelp')}</p>
          <label>
            {t('newInvitation')}
            <select data-testid="invite-role" value={role} onChange={(event) => setRole(event.currentTarget.value as RoleName)}>
              {roles.map((one) => (
                <option key={one} value={one}>
                  {t(`invite_${one}`)}
                </option>
              ))}
            </select>
          </label>
          <label>
            {t('label')}
            <input data-testid="invite-label" value={label} maxLength={60} placeholder={t('labelExample')} onInput={(event) => setLabel(event.currentTarget.value)} autocomplete="off" />
          </label>
          <button type="submit" class="primary" data-testid="invite-create">
            {t('create')}
          </button>
        </form>
        {invitations?.length === 0 && <p class="quiet-text">{t('noInvitation')}</p>}
        <ul class="invitations">
          {invitations?.map((one) => (
            <InvitationCard
              key={one.id}
              invitation={one}
              onRevoke={() => {
                if (confirm(t('revokeQuestion'))) void session.attempt(() => api.revokeInvitation(room, token, one.id)).then(refresh)
              }}
            />
          ))}
        </ul>
      </div>
    </>
  )
}

function InvitationCard({ invitation, onRevoke }: { invitation: Invitation; onRevoke: () => void }) {
  const big = useRef<HTMLDialogElement>(null)
  return (
    <li class="invitation" data-testid="invitation" data-role={invitation.role}>
      <p class="invitation-head">
        <strong>{invitation.label || t(`invite_${invitation.role}`)}</strong>
        <small>
          {t(`role_${invitation.role}`)} · {invitation.lobby ? t('waitsAtDoor') : t('entersDirectly')}
        </small>
      </p>
      <p class="big-code" data-testid="invitation-code">
        {invitation.code}
      </p>
      <div class="actions">
        <Copy text={invitation.url} label={t('copyLink')} test="copy-link" />
        <Copy text={invitation.code} label={t('copyCode')} test="copy-code" />
        <button type="button" class="small" data-testid="show-big" onClick={() => big.current?.showModal()}>
          {t('showBig')}
        </button>
        <button type="button" class="small" onClick={onRevoke} data-testid="revoke">
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

function Copy({ text, label, test }: { text: string; label: string; test: string }) {
  const [done, setDone] = useState(false)
  return (
    <button
      type="button"
      class="small"
      data-testid={test}
      data-text={text}
      onClick={() => {
        // Not everywhere: without a secure context there is no clipboard; then it is shown, to copy by hand.
        if (navigator.clipboard) void navigator.clipboard.writeText(text).then(() => setDone(true))
        else prompt(label, text)
        setTimeout(() => setDone(false), 2_000)
      }}
    >
      {done ? t('copied') : label}
    </button>
  )
}

function QrCode({ text }: { text: string }) {
  const { data, size } = encode(text, { border: 2 })
  const path = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ''))).join('')
  return (
    <svg class="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label="QR" shape-rendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#000" />
    </svg>
  )
}
