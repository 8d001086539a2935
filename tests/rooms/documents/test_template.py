"""What a document begins with: the very same bytes always, once in the document, whoever seeds and whoever reads."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence

import pycrdt
import pytest

from rooms.documents import sync
from rooms.documents.document import YjsDocument, merge_updates
from rooms.documents.errors import DocumentUnavailable
from rooms.documents.hub import DocumentHub
from rooms.documents.scan import scan_update
from rooms.documents.template import (
    EMPTY_PARAGRAPH,
    TEMPLATE_AUTHOR,
    TEMPLATE_CLIENT_ID,
    Element,
    Text,
    template_update,
)
from rooms.ports import ClientBinding, DocumentAppend
from tests.support.documents import KEY, Access, Editor, RecordingStore, until
from tests.support.instances import instances

LINK = {"link": {"href": "https://musée.example/visite?a=1&b=2"}}


def paragraph(*texts: Text) -> Element:
    return Element("paragraph", {}, texts)


def item(*blocks: Element) -> Element:
    return Element("listItem", {}, blocks)


BLOCKS: Sequence[Element] = [
    Element("heading", {"level": 1}, [Text("Été à Rimouski 📊🐻‍❄️")]),
    paragraph(Text("Qui "), Text("écrit", {"bold": {}, "italic": {}}), Text(" ?", {"italic": {}}), Text("Ici", LINK)),
    paragraph(),
    Element("bulletList", {}, [item(paragraph(Text("un"))), item(paragraph())]),
    Element(
        "orderedList", {"start": 4_000}, [item(paragraph(Text("a")), Element("bulletList", {}, [item(paragraph())]))]
    ),
    Element("blockquote", {}, [Element("heading", {"level": 2}, [Text("x"), Element("hardBreak"), Text("y")])]),
    Element("horizontalRule"),
    Element("codeBlock", {}, [Text("si a < b:\n\tfin")]),
]


def shown(*updates: bytes) -> str:
    doc: pycrdt.Doc[pycrdt.XmlFragment] = pycrdt.Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("content", type=pycrdt.XmlFragment))


def shown_to(editor: Editor) -> str:
    return str(editor.doc.get("content", type=pycrdt.XmlFragment))  # type: ignore[type-var]


def test_an_empty_line_has_one_text_for_all_who_begin_to_write_in_it() -> None:
    """Two made at once would be two, and the letters of both in disorder (tests/browser/test_texts.py)."""
    doc: pycrdt.Doc[pycrdt.XmlFragment] = pycrdt.Doc()
    doc.apply_update(template_update([paragraph(), item(paragraph()), Element("horizontalRule")]))
    line, in_list, rule = doc.get("content", type=pycrdt.XmlFragment).children
    for empty in (line, in_list.children[0]):
        assert [type(child) for child in empty.children] == [pycrdt.XmlText]
    assert list(rule.children) == []


def test_the_engine_reads_it_as_it_was_meant_and_writes_the_same_bytes() -> None:
    update = template_update(BLOCKS)
    document = YjsDocument()
    scan = scan_update(update)
    done = document.integrate([(update, scan)])
    assert (done.change, done.refused, done.kept) == (update, {}, [])
    assert document.whole_state() == update
    assert scan.writes == [(TEMPLATE_CLIENT_ID, 0, document.clocks[TEMPLATE_CLIENT_ID])]
    assert scan.needs == {}
    assert shown(update).startswith('<heading level="1">Été à Rimouski 📊🐻‍❄️</heading><paragraph>Qui <')
    document.close()


def test_the_same_template_is_the_same_bytes_in_every_process() -> None:
    """Sets and mappings are in another order there: PYTHONHASHSEED is drawn anew."""
    code = (
        "from tests.rooms.documents.test_template import BLOCKS; from rooms.documents.template import template_update; "
        "print(template_update(BLOCKS).hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert outputs == {template_update(BLOCKS).hex()}


def test_merged_with_itself_it_is_there_once() -> None:
    update = template_update(BLOCKS)
    assert shown(update, update) == shown(merge_updates([update, update])) == shown(update)


@pytest.mark.parametrize("number", [0, 1, 63, 64, 9_999, 2**31 - 1])
def test_whole_numbers_come_back_as_they_were(number: int) -> None:
    doc: pycrdt.Doc[pycrdt.XmlFragment] = pycrdt.Doc()
    doc.apply_update(template_update([Element("orderedList", {"start": number}, [item(paragraph())])]))
    (element,) = doc.get("content", type=pycrdt.XmlFragment).children
    assert element.attributes.get("start") == number  # type: ignore[union-attr]


# --- through the hub --------------------------------------------------------------------------------------------


async def test_a_document_begins_with_it_once_and_with_nothing_else(hub: DocumentHub, store: RecordingStore) -> None:
    update, other = template_update(BLOCKS), template_update([paragraph(Text("autre"))])
    assert await hub.begin(KEY, update)
    assert await hub.begin(KEY, update)  # asked again
    assert not await hub.begin(KEY, other)
    stored = await store.load_document(KEY)
    assert list(stored.updates) == [update]
    assert stored.bindings == {TEMPLATE_CLIENT_ID: TEMPLATE_AUTHOR}
    assert shown_to(await Editor("ada").join(hub)) == shown(update)


async def test_whoever_has_it_open_already_is_shown_it(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub, access=Access(write=False))
    update = template_update(BLOCKS)
    assert await hub.begin(KEY, update)
    await until(lambda: shown_to(ada) == shown_to(ben) == shown(update))
    ada.type("et voilà")
    await until(lambda: ada.all_saved)
    await until(lambda: ben.text == "et voilà")


async def test_where_somebody_has_written_nothing_is_begun(hub: DocumentHub, store: RecordingStore) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("déjà")
    assert not await hub.begin(KEY, template_update(BLOCKS))  # not even while it waits for its flush
    await until(lambda: ada.all_saved)
    assert not await hub.begin(KEY, template_update(BLOCKS))
    assert store.text() == "déjà"
    assert shown_to(ada) == ""


async def test_it_is_not_begun_while_the_store_fails_and_may_be_asked_again(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    store.is_failing = True
    update = template_update(BLOCKS)
    with pytest.raises(DocumentUnavailable):
        await hub.begin(KEY, update)
    assert shown_to(ada) == ""
    store.is_failing = False
    assert await hub.begin(KEY, update)
    await until(lambda: shown_to(ada) == shown(update))


async def test_nobody_writes_in_the_templates_name(hub: DocumentHub, store: RecordingStore) -> None:
    """Neither before nor after a document was begun: two texts under one clock would never be one again."""
    forger = Editor("forger", doc=pycrdt.Doc(client_id=TEMPLATE_CLIENT_ID))
    await forger.join(hub)
    forger.type("usurpé")
    await until(lambda: forger.denials() == ["client-id"])
    forger.leave()
    ada = await Editor("ada").join(hub)
    update = template_update(BLOCKS)
    assert await hub.begin(KEY, update)
    await until(lambda: shown_to(ada) == shown(update))
    late: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc(client_id=TEMPLATE_CLIENT_ID)
    late.apply_update(update)
    before = late.get_state()
    late.get("text", type=pycrdt.Text).insert(0, "à la suite")
    ada.tell(sync.sync_update(late.get_update(before)))
    await until(lambda: ada.denials() == ["client-id"])
    assert store.text() == ""


EMPTY = "<paragraph></paragraph>"


@pytest.mark.parametrize("round_", range(10))
async def test_those_who_open_an_empty_document_at_once_have_one_paragraph(round_: int) -> None:
    """On two instances, and some of them on the same."""
    async with instances() as them:
        hubs = [await them.start(), await them.start()]

        async def open_it(number: int) -> Editor:
            hub = hubs[number % 2]
            await hub.begin_with_paragraph(KEY)
            return await Editor(f"r{number}").join(hub)

        readers = await asyncio.gather(*(open_it(number) for number in range(2 + round_)))
        await until(lambda: {shown_to(reader) for reader in readers} == {EMPTY})
        assert list((await them.store.load_document(KEY)).updates) == [EMPTY_PARAGRAPH]


async def test_a_document_with_text_gets_no_paragraph_and_is_not_looked_for_in_the_store(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    ada.type("déjà")
    await hub.begin_with_paragraph(KEY)
    await until(lambda: ada.all_saved)
    loads = store.loads
    await hub.begin_with_paragraph(KEY)
    assert (store.loads, shown_to(ada)) == (loads, "")


async def test_while_the_store_fails_an_empty_document_opens_without_a_paragraph(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    store.is_failing = True
    await hub.begin_with_paragraph(KEY)
    assert shown_to(await Editor("ben").join(hub)) == shown_to(ada) == ""


@pytest.mark.parametrize("round_", range(10))
async def test_two_instances_that_begin_it_at_once_begin_it_once(round_: int) -> None:
    """With somebody reading on each, and one who comes to a third afterwards."""
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ada = await Editor("ada").join(one)
        ben = await Editor("ben").join(two) if round_ % 2 else None
        update = template_update(BLOCKS)
        assert await asyncio.gather(one.begin(KEY, update), two.begin(KEY, update)) == [True, True]
        readers = [ada, ben or await Editor("ben").join(two), await Editor("cleo").join(await them.start())]
        await until(lambda: all(shown_to(reader) == shown(update) for reader in readers))
        stored = await them.store.load_document(KEY)
        assert list(stored.updates) == [update]
        ada.type("suite")
        await until(lambda: {reader.text for reader in readers} == {"suite"})


async def test_two_instances_with_two_templates_agree_on_the_first() -> None:
    async with instances() as them:
        one, two = await them.start(), await them.start()
        first, second = template_update(BLOCKS), template_update([paragraph(Text("autre"))])
        answers = await asyncio.gather(one.begin(KEY, first), two.begin(KEY, second))
        assert sorted(answers) == [False, True]
        winner = first if answers[0] else second
        readers = [await Editor("ada").join(one), await Editor("ben").join(two)]
        await until(lambda: all(shown_to(reader) == shown(winner) for reader in readers))


async def test_an_instance_that_has_it_open_hears_of_it_at_once(hub: DocumentHub) -> None:
    """Not with the next heartbeat: the clock stands still here."""
    async with instances() as them:
        one, two = await them.start(), await them.start()
        ben = await Editor("ben").join(two)
        ada = await Editor("ada").join(one)
        await until(lambda: next(iter(one._library.documents)).exchange.peers)  # type: ignore[union-attr]
        update = template_update(BLOCKS)
        assert await one.begin(KEY, update)
        await until(lambda: shown_to(ben) == shown_to(ada) == shown(update))


async def test_a_copy_that_breaks_in_that_moment_is_loaded_again_with_it(
    hub: DocumentHub, store: RecordingStore
) -> None:
    ada = await Editor("ada").join(hub)
    update = template_update(BLOCKS)
    await store.append_first(DocumentAppend(KEY, update, (ClientBinding(TEMPLATE_CLIENT_ID, TEMPLATE_AUTHOR),)))
    hub.give_up(next(iter(hub._library.documents)))
    assert ada.closed is not None
    assert shown_to(await Editor("ben").join(hub)) == shown(update)
