import type { RichText, SharedDocument } from '@passerelle/client'
import { Editor as TiptapEditor } from '@tiptap/core'
import Collaboration from '@tiptap/extension-collaboration'
import CollaborationCaret from '@tiptap/extension-collaboration-caret'
import StarterKit from '@tiptap/starter-kit'
import { Bold, Check, CloudOff, Heading1, Heading2, Italic, Link2, List, ListOrdered, Loader, Lock, Redo2, Undo2 } from 'lucide-preact'
import type { ComponentChildren, RefObject } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { language, t, type Key } from '../i18n.js'
import type { Session } from '../session.js'
import { colourOf } from './colours.js'
import { giveEmptyLinesTheirText } from './empty_lines.js'
import { linkOf } from './link.js'

/** The shared text: any Yjs editor could open the same document. */
export function Editor({ session, name }: { session: Session; name: string }) {
  const shared = useMemo(() => session.sharedText(name), [session, name])
  const element = useRef<HTMLDivElement>(null)
  const [editor, setEditor] = useState<TiptapEditor | null>(null)
  const [writable, setWritable] = useState(() => mayWrite(shared, session))
  const [, redraw] = useState(0)
  useEffect(() => {
    const made = new TiptapEditor({
      element: element.current!,
      extensions: [
        StarterKit.configure({
          undoRedo: false,
          link: { openOnClick: 'whenNotEditable' },
          // It writes an empty paragraph behind a list at the end, in every editor that opens the text: many at once in a
          // class that opens it together, and a refused write by who may only read.
          trailingNode: false,
        }),
        Collaboration.configure({ document: shared.doc, field: 'content' }),
        CollaborationCaret.configure({
          provider: shared,
          user: { name: session.place.name, color: colourOf(session.place.participantId) },
          render: renderCaret,
        }),
      ],
      editable: false,
      // An object and not a function: Tiptap spreads what it is given into the first view, which keeps nothing of a function.
      editorProps: { attributes: editorAttributes() },
    })
    const stopLines = giveEmptyLinesTheirText(shared.doc)
    setEditor(made)
    made.on('transaction', () => redraw((count) => count + 1))
    const read = () => made.getJSON() as RichText
    session.readShownText = read
    return () => {
      if (session.readShownText === read) session.readShownText = null
      stopLines()
      made.destroy()
    }
  }, [shared, session])
  useEffect(() => {
    if (!editor) return
    const follow = () => {
      const name = session.self.value?.name ?? session.place.name
      editor.commands.updateUser({ name, color: colourOf(session.view.value?.self_id ?? session.place.participantId) })
    }
    follow()
    return session.room.on('view', follow)
  }, [editor, session])
  useEffect(() => {
    if (!editor) return
    const follow = () => {
      if (session.view.value && shared.synced) session.keepWriteRight(shared.canWrite)
      const may = mayWrite(shared, session)
      setWritable(may)
      editor.setEditable(may)
    }
    follow()
    const off = [shared.on('access', follow), shared.on('synced', follow), shared.on('state', follow)]
    return () => off.forEach((stop) => stop())
  }, [editor, session, shared])
  // The label of the text is not drawn by a component: the editor is given it again in another language.
  const spoken = language.value
  useEffect(() => editor?.setOptions({ editorProps: { attributes: editorAttributes() } }), [editor, spoken])
  return (
    <div class="editor">
      <div class="editor-top">
        {editor && <Toolbar editor={editor} disabled={!writable} />}
        <SaveMark shared={shared} writable={writable} />
      </div>
      <div
        class="paper"
        ref={element}
        data-placeholder={editor?.isEmpty && writable ? '' : undefined}
        style={{ '--placeholder': JSON.stringify(t('placeholder')) }}
        onClick={() => editor?.isEditable && !editor.isFocused && editor.commands.focus()}
      />
    </div>
  )
}

function editorAttributes() {
  return {
    role: 'textbox',
    'aria-multiline': 'true',
    'aria-label': t('editorLabel'),
    lang: 'fr-CA',
    spellcheck: 'true',
    'data-testid': 'editor',
  }
}

function mayWrite(shared: SharedDocument, session: Session): boolean {
  // Loading: what is typed before the text is here would stand in a paragraph of its own.
  if (shared.state === 'refused' || shared.state === 'loading') return false
  // Reloaded while the server is away: the right it gave last, kept here; it judges what is sent later.
  const isReloadedOffline = session.view.value === null && shared.state === 'offline'
  return shared.canWrite || (isReloadedOffline && session.place.canWrite)
}

function SaveMark({ shared, writable }: { shared: SharedDocument; writable: boolean }) {
  const [state, setState] = useState(shared.state)
  useEffect(() => {
    const follow = () => setState(shared.state)
    follow()
    return shared.on('state', follow)
  }, [shared])
  const offline = t(shared.isKeptHere ? 'offline' : 'offlineNotKept')
  const marks = {
    saved: [<Check aria-hidden="true" />, t('saved')],
    unsaved: [<Loader aria-hidden="true" />, t('unsaved')],
    offline: [<CloudOff aria-hidden="true" />, offline],
    loading: [<Loader aria-hidden="true" />, t('loadingText')],
    refused: [<Lock aria-hidden="true" />, t('refusedText')],
  } as const
  const [icon, text] = marks[state]
  // Said aloud only when it matters: at every key somebody who listens would hear « pas encore enregistré ».
  const said = state === 'offline' ? offline : state === 'refused' ? t('refusedText') : ''
  return (
    <>
      <p class={`save-mark ${state}`} data-testid="save-state" data-state={state}>
        {icon} <span>{text}</span>
        {!writable && state !== 'loading' && state !== 'refused' && (
          <span class="read-only">
            <Lock aria-hidden="true" /> {t('readOnly')}
          </span>
        )}
      </p>
      <span class="visually-hidden" role="status" data-testid="save-said">
        {said}
      </span>
    </>
  )
}

interface ToolAction {
  label: Key
  icon: ComponentChildren
  press: () => void
  on?: boolean
}

/** One stop of the Tab key; the arrow keys go along it (ARIA practices, toolbar). */
function Toolbar({ editor, disabled }: { editor: TiptapEditor; disabled: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const bar = useRef<HTMLDivElement>(null)
  const [current, setCurrent] = useState(0)
  const [address, setAddress] = useState('')
  const chain = () => {
    editor.view.focus() // now: the command alone waits for the next frame, and what is typed meanwhile is lost
    return editor.chain().focus()
  }
  const askForLink = () => {
    setAddress((editor.getAttributes('link')['href'] as string | undefined) ?? '')
    dialog.current?.showModal()
  }
  const tools: ToolAction[] = [
    { label: 'heading', icon: <Heading1 />, on: editor.isActive('heading', { level: 1 }), press: () => chain().toggleHeading({ level: 1 }).run() },
    { label: 'subheading', icon: <Heading2 />, on: editor.isActive('heading', { level: 2 }), press: () => chain().toggleHeading({ level: 2 }).run() },
    { label: 'bold', icon: <Bold />, on: editor.isActive('bold'), press: () => chain().toggleBold().run() },
    { label: 'italic', icon: <Italic />, on: editor.isActive('italic'), press: () => chain().toggleItalic().run() },
    { label: 'bulletList', icon: <List />, on: editor.isActive('bulletList'), press: () => chain().toggleBulletList().run() },
    { label: 'numberedList', icon: <ListOrdered />, on: editor.isActive('orderedList'), press: () => chain().toggleOrderedList().run() },
    { label: 'link', icon: <Link2 />, on: editor.isActive('link'), press: askForLink },
    { label: 'undo', icon: <Undo2 />, press: () => chain().undo().run() },
    { label: 'redo', icon: <Redo2 />, press: () => chain().redo().run() },
  ]
  const walk = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: tools.length - 1 }
    const next = steps[event.key]
    if (next === undefined) return
    event.preventDefault()
    const index = (next + tools.length) % tools.length
    setCurrent(index)
    bar.current?.querySelectorAll('button')[index]?.focus()
  }
  return (
    <>
      <div class="toolbar" role="toolbar" ref={bar} aria-label={t('formatting')} aria-disabled={disabled} onKeyDown={walk}>
        {tools.map((tool, index) => (
          <Tool key={tool.label} tool={tool} disabled={disabled} tabIndex={index === current ? 0 : -1} onFocus={() => setCurrent(index)} />
        ))}
      </div>
      <LinkDialog dialog={dialog} address={address} setAddress={setAddress} set={(href) => chain().extendMarkRange('link').setLink({ href }).run()} unset={() => chain().extendMarkRange('link').unsetLink().run()} />
    </>
  )
}

interface ToolProps {
  tool: ToolAction
  disabled: boolean
  tabIndex: number
  onFocus: () => void
}

function Tool({ tool, disabled, tabIndex, onFocus }: ToolProps) {
  return (
    <button
      type="button"
      class="tool"
      aria-label={t(tool.label)}
      title={t(tool.label)}
      aria-pressed={tool.on}
      aria-disabled={disabled}
      tabIndex={tabIndex}
      onFocus={onFocus}
      // The text keeps the focus and the selection: pressing with a mouse must not take them.
      onMouseDown={(event) => event.preventDefault()}
      onClick={() => !disabled && tool.press()}
    >
      <span aria-hidden="true">{tool.icon}</span>
    </button>
  )
}

interface LinkDialogProps {
  dialog: RefObject<HTMLDialogElement>
  address: string
  setAddress: (address: string) => void
  set: (href: string) => void
  unset: () => void
}

function LinkDialog({ dialog, address, setAddress, set, unset }: LinkDialogProps) {
  const href = linkOf(address)
  const submit = () => (href ? set(href) : unset())
  return (
    <dialog ref={dialog} aria-labelledby="link-title">
      <h2 id="link-title">{t('link')}</h2>
      <form method="dialog" onSubmit={submit}>
        <label>
          {t('linkAddress')}
          <input value={address} inputMode="url" maxLength={2_000} data-testid="link-address" onInput={(event) => setAddress(event.currentTarget.value)} autocomplete="off" />
        </label>
        <div class="actions">
          <button type="submit" class="primary" data-testid="link-set">
            {t('link')}
          </button>
          <button type="button" class="secondary" onClick={() => (unset(), dialog.current?.close())}>
            {t('removeLink')}
          </button>
          {href && (
            <a class="button secondary" href={href} target="_blank" rel="noopener noreferrer">
              {t('openLink')}
            </a>
          )}
        </div>
      </form>
    </dialog>
  )
}

function renderCaret(user: Record<string, string>): HTMLElement {
  const caret = document.createElement('span')
  caret.classList.add('collaboration-carets__caret')
  caret.style.setProperty('--caret', user['color'] ?? '#555')
  const label = document.createElement('span')
  label.classList.add('collaboration-carets__label')
  label.textContent = user['name'] ?? ''
  caret.append(label)
  return caret
}
