"""What came into the protocol after its first version is announced to clients, which send it only where it is."""

import msgspec

from server.wire.registry import COMMANDS, LATER

FIRST_VERSION = """
admit admit.participant_id configure configure.chat_enabled configure.lobby_roles configure.needs_adult
configure.writing_enabled create_document create_document.document create_document.template create_document.title
deny deny.participant_id document_close document_close.document document_open document_open.document get_room leave
media_candidate media_candidate.candidate media_candidate.pc media_candidate.session_id media_candidate.to
media_description media_description.description media_description.media media_description.negotiation
media_description.pc media_description.session_id media_description.to media_fallback media_fallback.interval_ms
media_fallback.listens media_fallback.muted media_fallback.session_id media_fallback.track_id media_layout
media_layout.session_id media_layout.tracks media_mute media_mute.muted media_mute.session_id media_mute.track_id
media_rebuild media_rebuild.pc media_rebuild.session_id media_sound media_sound.session_id media_sound.without_sound
media_start media_start.session_id media_start.without_sound media_stop media_stop.session_id media_subscribe
media_subscribe.session_id media_subscribe.tracks media_unpublish media_unpublish.session_id
media_unpublish.track_id mute_other mute_other.track_id ping_room remove remove.participant_id rename rename.name
rename_document rename_document.document rename_document.title send_chat send_chat.client_id send_chat.text set_hand
set_hand.participant_id set_hand.raised spotlight spotlight.participant_id
"""
"""Commands, and `command.field`. Never grows: what a client may send besides has a name in `LATER`."""


def test_whatever_a_client_may_send_is_of_the_first_version_or_announced() -> None:
    fields = {
        f"{name}.{field.encode_name}"
        for name, command in COMMANDS.items()
        for field in msgspec.structs.fields(command.payload)
    }
    later = {each for names in LATER.values() for each in names}
    assert fields | COMMANDS.keys() == set(FIRST_VERSION.split()) | later
    assert later.isdisjoint(FIRST_VERSION.split())
