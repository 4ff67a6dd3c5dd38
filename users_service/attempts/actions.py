"""What is counted: one name for each thing that somebody may try too often."""

from __future__ import annotations

from typing import Final

# Sign-ups from one address.
SIGN_UP: Final = "sign_up"
# Guesses at one password share one limit, whichever way they come: a change of password counts, too.
SIGN_IN: Final = "sign_in"
CREATE_VERIFICATION: Final = "create_verification"
CONSUME_VERIFICATION: Final = "consume_verification"
