"""The markers of a Gemma 4 reply."""

from __future__ import annotations

from pyodide_app.text.chat.gemma4_tools import QUOTE
from pyodide_app.text.chat.reply_reader import Markers, Results

THOUGHT_OPEN, THOUGHT_CLOSE = "<|channel>", "<channel|>"
CALL_OPEN, CALL_CLOSE = "<|tool_call>", "<tool_call|>"
RESULT_OPEN, RESULT_CLOSE = "<|tool_response>", "<tool_response|>"
CHANNEL_NAME = "thought\n"

# The model at times repeats these after a call; they mean nothing there.
STRAYS = (CALL_CLOSE, RESULT_OPEN, RESULT_CLOSE)
# A call ends before each of these, whatever it lacks.
CALL_ENDS = (
    *(CALL_CLOSE, CALL_OPEN, RESULT_OPEN, RESULT_CLOSE),
    *(THOUGHT_OPEN, THOUGHT_CLOSE),
)
REPLY = Markers(
    thought=(THOUGHT_OPEN, THOUGHT_CLOSE),
    call_opens=(CALL_OPEN,),
    call_close=CALL_CLOSE,
    results=Results(RESULT_OPEN, RESULT_CLOSE, heads=("response:",)),
    others=(QUOTE,),
)
MARKERS = REPLY.all
