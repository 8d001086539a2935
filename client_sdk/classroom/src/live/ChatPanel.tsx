import { Send } from 'lucide-preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { language, t } from '../i18n.js'
import type { Session } from '../session.js'
import { PanelHeader } from './PanelHeader.js'

const longestLine = 2_000

export function ChatPanel({ session, onClose }: { session: Session; onClose: () => void }) {
  const view = session.view.value
  const [text, setText] = useState('')
  const list = useRef<HTMLDivElement>(null)
  // While there is a connection they are no longer than a blink.
  const unsent = session.connected.value ? [] : session.unsentLines.value
  const count = (view?.chat.length ?? 0) + unsent.length
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight })
  }, [count])
  if (!view) return null
  const send = async (event: Event) => {
    event.preventDefault()
    const line = text.trim()
    if (!line) return
    // At once: what is pressed again sends nothing twice, and what is typed on meanwhile stays.
    setText('')
    if (!(await session.sendChat(line))) setText((typed) => typed || line)
  }
  const time = new Intl.DateTimeFormat(language.value === 'fr' ? 'fr-CA' : 'en-CA', { hour: '2-digit', minute: '2-digit' })
  return (
    <>
      <PanelHeader title={t('chat')} onClose={onClose} />
      <div class="panel-body chat" ref={list} role="log" aria-live="polite" tabIndex={0} aria-label={t('chat')}>
        {!count && <p class="quiet-text">{t('chatEmpty')}</p>}
        {view.chat.map((line) => (
          <div key={line.id} class={`chat-line ${line.participant_id === view.self_id ? 'mine' : ''}`} data-testid="chat-line">
            <span class="chat-head">
              <strong>{line.name}</strong> <time dateTime={new Date(line.sent_at * 1_000).toISOString()}>{time.format(line.sent_at * 1_000)}</time>
            </span>
            <span class="chat-text">{line.text}</span>
          </div>
        ))}
        {unsent.map((line, index) => (
          <div key={`unsent ${index}`} class="chat-line mine unsent" data-testid="unsent-line">
            <span class="chat-head">{t('notSentYet')}</span>
            <span class="chat-text">{line}</span>
          </div>
        ))}
      </div>
      {session.can('chat') ? (
        <form class="chat-form" onSubmit={(event) => void send(event)}>
          <input
            data-testid="chat-input"
            aria-label={t('writeMessage')}
            placeholder={t('writeMessage')}
            value={text}
            maxLength={longestLine}
            onInput={(event) => setText(event.currentTarget.value)}
            autocomplete="off"
          />
          <button type="submit" class="icon-button primary" aria-label={t('send')} data-testid="chat-send">
            <Send aria-hidden="true" />
          </button>
        </form>
      ) : (
        <p class="quiet-text chat-form">{t(session.isFrozen.value ? 'pauseChat' : 'chatClosed')}</p>
      )}
    </>
  )
}
