/** The room's texts: the one on screen, which others there are, and for a host a new one. */

import { FilePlus2, Pencil, X } from 'lucide-preact'
import { lazy, Suspense } from 'preact/compat'
import { useRef } from 'preact/hooks'
import { fill, t } from '../i18n.js'
import { Mishap } from '../pages/Mishap.js'
import type { Session } from '../session.js'
import { NewTextDialog, RenameTextDialog } from './TextDialogs.js'

const Editor = lazy(() => import('./Editor.js').then((module) => module.Editor))

export function Texts({ session }: { session: Session }) {
  const shown = session.text.value
  return (
    <>
      <TextBar session={session} />
      <Mishap>
        <Suspense fallback={<p class="quiet-text text-loading">{t('loadingText')}</p>}>
          <Editor key={shown} session={session} name={shown} />
        </Suspense>
      </Mishap>
    </>
  )
}

/** Nothing at all where there is one text and nobody here may make another. */
function TextBar({ session }: { session: Session }) {
  const making = useRef<HTMLDialogElement>(null)
  const renaming = useRef<HTMLDialogElement>(null)
  const texts = session.texts.value
  const mayManage = session.can('manage_documents')
  if (texts.length < 2 && !mayManage) return null
  return (
    <div class="text-bar" role="group" aria-label={t('texts')}>
      <label class="text-choice">
        <span class="visually-hidden">{t('shownText')}</span>
        <select data-testid="text-choice" value={session.text.value} onChange={(event) => session.showText(event.currentTarget.value)}>
          {texts.map(({ document, title }) => (
            <option key={document} value={document}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {mayManage && (
        <>
          <button type="button" class="tool" data-testid="rename-text" aria-label={t('renameText')} title={t('renameText')} onClick={() => renaming.current?.showModal()}>
            <span aria-hidden="true">
              <Pencil />
            </span>
          </button>
          <button type="button" class="secondary new-text" data-testid="new-text" aria-label={t('newText')} title={t('newText')} onClick={() => making.current?.showModal()}>
            <FilePlus2 aria-hidden="true" /> <span class="new-text-label">{t('newText')}</span>
          </button>
          <NewTextDialog session={session} dialog={making} />
          <RenameTextDialog session={session} dialog={renaming} />
        </>
      )}
      <NewText session={session} />
    </div>
  )
}

/** Somebody has made a text: one press opens it. It is announced with the rest of the moment. */
function NewText({ session }: { session: Session }) {
  const made = session.newText.value
  if (!made) return null
  return (
    <span class="new-text-offer">
      <button type="button" class="primary" data-testid="open-new-text" onClick={() => session.showText(made.document)}>
        {fill('openNewText', { title: made.title })}
      </button>
      <button type="button" class="tool" data-testid="not-now" aria-label={t('notNow')} title={t('notNow')} onClick={() => (session.newText.value = null)}>
        <span aria-hidden="true">
          <X />
        </span>
      </button>
    </span>
  )
}
