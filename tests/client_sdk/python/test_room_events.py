"""The iterator over what happens in a room, and the view that follows from it."""

import asyncio

import pytest

from passerelle_client.errors import Removed
from passerelle_client.protocol import (
    ChatLine,
    ChatSent,
    DocumentCreated,
    DocumentRenamed,
    Participant,
    ParticipantChanged,
    ParticipantJoined,
    ParticipantLeft,
    RoomDocument,
    RoomEventMessage,
    RoomSettings,
    RoomSummary,
    RoomView,
    SettingsChanged,
    SpeakersChanged,
    Track,
    TrackPublished,
    TrackUnpublished,
)
from passerelle_client.room_events import LONGEST_QUEUE, RoomEvents
from passerelle_client.room_view import LONGEST_CHAT, RoomEvent, apply_event

SETTINGS = RoomSettings(lobby_roles=["guest"], chat_enabled=True, writing_enabled=True)


def person(who: str, name: str = "Zoé") -> Participant:
    return Participant(id=who, name=name, role="pupil", label="", connected=True, hand_raised_at=None, joined_at=1.0)


def view(seq: int = 1) -> RoomView:
    return RoomView(
        room=RoomSummary(id="r", name="Classe", kind="interclass"),
        seq=seq,
        self_id="me",
        role="pupil",
        permissions=["chat"],
        settings=SETTINGS,
        participants=[person("me")],
        lobby=[],
        tracks=[],
        chat=[],
        documents=[],
    )


def after(*events: RoomEvent) -> RoomView:
    result = view()
    for number, event in enumerate(events):
        result = apply_event(result, RoomEventMessage(seq=number + 2, prev=number + 1, event=event))
    return result


def a_track(muted: bool = False) -> Track:
    return Track(id="t", participant_id="p", session_id="s", source="camera", kind="video", muted=muted)


def a_line(line_id: str) -> ChatSent:
    return ChatSent(line=ChatLine(id=line_id, participant_id="p", name="Zoé", text="Allô", sent_at=1.0))


def test_who_came_first_stays_first_whatever_changes() -> None:
    result = after(
        ParticipantJoined(participant=person("first")),
        ParticipantJoined(participant=person("second")),
        ParticipantChanged(participant=person("first", "Léa")),
        ParticipantChanged(participant=person("me", "Noé")),
    )
    assert [(each.id, each.name) for each in result.participants] == [
        ("me", "Noé"),
        ("first", "Léa"),
        ("second", "Zoé"),
    ]


def test_people_come_change_and_leave_with_their_tracks() -> None:
    there = after(ParticipantJoined(participant=person("p")), TrackPublished(track=a_track()))
    assert [each.id for each in there.participants] == ["me", "p"]
    assert [each.id for each in there.tracks] == ["t"]
    renamed = after(ParticipantJoined(participant=person("p")), ParticipantChanged(participant=person("p", "Léo")))
    assert [each.name for each in renamed.participants] == ["Zoé", "Léo"]
    gone = apply_event(there, RoomEventMessage(seq=9, prev=8, event=ParticipantLeft(participant_id="p", reason="left")))
    assert [each.id for each in gone.participants] == ["me"]
    assert gone.tracks == []
    assert gone.seq == 9


def test_a_track_is_as_it_was_told_last() -> None:
    assert [
        track.muted for track in after(TrackPublished(track=a_track()), TrackPublished(track=a_track(True))).tracks
    ] == [True]
    assert after(TrackPublished(track=a_track()), TrackUnpublished(track_id="t")).tracks == []


def test_chat_lines_come_once_and_not_without_end() -> None:
    assert len(after(a_line("1"), a_line("1")).chat) == 1
    assert len(after(*(a_line(str(number)) for number in range(LONGEST_CHAT + 5))).chat) == LONGEST_CHAT


def test_texts_are_listed_in_order_and_take_new_titles_in_place() -> None:
    def text(name: str, title: str) -> RoomDocument:
        return RoomDocument(document=name, title=title, created_at=1.0)

    there = after(
        DocumentCreated(document=text("b", "Questions")),
        DocumentCreated(document=text("a", "Récit")),
        DocumentRenamed(document=text("b", "Réponses")),
    )
    assert [(each.document, each.title) for each in there.documents] == [("b", "Réponses"), ("a", "Récit")]


def test_settings_bring_ones_own_permissions() -> None:
    changed = after(SettingsChanged(settings=SETTINGS, permissions=["chat", "write_document"]))
    assert changed.permissions == ["chat", "write_document"]


def test_the_view_before_stays_as_it_was() -> None:
    before = view()
    apply_event(before, RoomEventMessage(seq=2, prev=1, event=ParticipantJoined(participant=person("p"))))
    assert [each.id for each in before.participants] == ["me"]
    assert before.seq == 1


async def test_events_come_in_order_after_the_view_they_begin_from() -> None:
    events = RoomEvents(view())
    for number in range(3):
        events.put(SpeakersChanged(participant_ids=[str(number)]), view())
    assert isinstance(await anext(events), RoomView)
    assert [(await anext(events)).participant_ids for _ in range(3)] == [["0"], ["1"], ["2"]]


async def test_a_slow_reader_begins_again_from_the_present() -> None:
    events = RoomEvents(None)
    for number in range(LONGEST_QUEUE + 1):
        events.put(SpeakersChanged(participant_ids=[]), view(seq=number))
    first = await anext(events)
    assert isinstance(first, RoomView)
    assert first.seq == LONGEST_QUEUE


async def test_the_iterator_ends_with_the_room() -> None:
    events = RoomEvents(view())
    waiting = asyncio.create_task(_all(events))
    await asyncio.sleep(0)
    events.close()
    assert len(await waiting) == 1
    removed = RoomEvents(None)
    removed.close(Removed("removed"))
    with pytest.raises(Removed):
        await anext(removed)


async def _all(events: RoomEvents) -> list[object]:
    return [event async for event in events]
