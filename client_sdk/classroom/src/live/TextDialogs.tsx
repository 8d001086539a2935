import type { RichText } from '@passerelle/client'
import type { RefObject } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { language, t } from '../i18n.js'
import { readyTexts, type ReadyText } from '../ready_texts.js'
import type { Session } from '../session.js'

interface DialogProps {
  session: Session
  dialog: RefObject<HTMLDialogElement>
}

type Choice = ReadyText['id'] | 'copy'

/** A title, and what the text begins with. */
export function NewTextDialog({ session, dialog }: DialogProps) {
  const [title, setTitle] = useState('')
  const [choice, setChoice] = useState<Choice>('empty')
  const [isBusy, setBusy] = useState(false)
  const make = async () => {
    if (isBusy) return
    setBusy(true)
    const isMade = await session.makeText(title.trim(), templateOf(choice, session))
    setBusy(false)
    if (!isMade) return
    dialog.current?.close()
    setTitle('')
    setChoice('empty')
  }
  const choose = (next: ReadyText) => {
    // A ready text brings its name along, until somebody has written another.
    if (!title || readyTexts.some(({ name }) => t(name) === title)) setTitle(next.id === 'empty' ? '' : t(next.name))
    setChoice(next.id)
  }
  return (
    <dialog ref={dialog} class="text-dialog" aria-labelledby="new-text-title">
      <h2 id="new-text-title">{t('newText')}</h2>
      <form onSubmit={(event) => (event.preventDefault(), void make())}>
        <TitleField title={title} setTitle={setTitle} test="text-title" />
        <fieldset class="ready-texts">
          <legend>{t('beginsWith')}</legend>
          {readyTexts.map((ready) => (
            <ReadyChoice key={ready.id} id={ready.id} name={t(ready.name)} hint={t(ready.hint)} chosen={choice} onChoose={() => choose(ready)} />
          ))}
          <ReadyChoice id="copy" name={t('ready_copy')} hint={t('readyHint_copy')} chosen={choice} onChoose={() => setChoice('copy')} />
        </fieldset>
        <Actions dialog={dialog} label={t('create')} test="make-text" isBusy={isBusy} />
      </form>
    </dialog>
  )
}

function templateOf(choice: Choice, session: Session): RichText | null {
  if (choice === 'copy') return session.readShownText?.() ?? null
  return readyTexts.find(({ id }) => id === choice)?.build(language.value) ?? null
}

/** Another title for the text on screen. */
export function RenameTextDialog({ session, dialog }: DialogProps) {
  const name = session.text.value
  const present = session.texts.value.find(({ document }) => document === name)?.title ?? ''
  const [title, setTitle] = useState(present)
  useEffect(() => setTitle(present), [present])
  const rename = async () => {
    if (await session.renameText(name, title.trim())) dialog.current?.close()
  }
  return (
    <dialog ref={dialog} aria-labelledby="rename-text-title">
      <h2 id="rename-text-title">{t('renameText')}</h2>
      <form onSubmit={(event) => (event.preventDefault(), void rename())}>
        <TitleField title={title} setTitle={setTitle} test="text-new-title" />
        <Actions dialog={dialog} label={t('renameText')} test="set-text-title" />
      </form>
    </dialog>
  )
}

function TitleField({ title, setTitle, test }: { title: string; setTitle: (title: string) => void; test: string }) {
  return (
    <label>
      {t('textTitle')}
      <input required maxLength={60} value={title} data-testid={test} autocomplete="off" onInput={(event) => setTitle(event.currentTarget.value)} />
    </label>
  )
}

interface ReadyChoiceProps {
  id: Choice
  name: string
  hint: string
  chosen: Choice
  onChoose: () => void
}

function ReadyChoice({ id, name, hint, chosen, onChoose }: ReadyChoiceProps) {
  return (
    <label class="ready-text">
      <input type="radio" name="ready-text" value={id} checked={chosen === id} data-testid={`ready-${id}`} onChange={onChoose} />
      <span>
        <strong>{name}</strong> <span class="ready-hint">{hint}</span>
      </span>
    </label>
  )
}

interface ActionsProps {
  dialog: RefObject<HTMLDialogElement>
  label: string
  test: string
  isBusy?: boolean
}

function Actions({ dialog, label, test, isBusy = false }: ActionsProps) {
  return (
    <div class="actions">
      <button type="submit" class="primary" data-testid={test} disabled={isBusy}>
        {label}
      </button>
      <button type="button" class="secondary" onClick={() => dialog.current?.close()}>
        {t('cancel')}
      </button>
    </div>
  )
}
