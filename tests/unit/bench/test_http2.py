"""Frames of HTTP/2: however the network parts them, they are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.http2 import MAX_FRAME_BYTES, Frame, FrameReader, ProtocolError, frame

frames = st.builds(Frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=40))


@given(sent=st.lists(frames, max_size=20), data=st.data())
def test_any_chunks_give_the_same_frames(sent: list[Frame], data: st.DataObject) -> None:
    """What arrives in other pieces than it was sent in, even byte by byte, is not lost, doubled or mixed up."""
    stream = b"".join(frame(*one) for one in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    reader, found = FrameReader(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += list(reader.feed(stream[begin:end]))
    assert found == sent


def test_a_frame_that_is_too_long_ends_the_connection() -> None:
    """A server that sends more than it may is not waited for."""
    head = frame(0, 0, 1, b"x" * (MAX_FRAME_BYTES + 1))[:9]
    with pytest.raises(ProtocolError):
        list(FrameReader().feed(head))
