"""Actions whose attempts are counted, each with its name."""

from __future__ import annotations

from typing import Final

# Sign-ups from one address.
SIGN_UP: Final = "sign_up"
# All guesses at one password share this limit: sign-ins and changes of password.
SIGN_IN: Final = "sign_in"
CREATE_VERIFICATION: Final = "create_verification"
CONSUME_VERIFICATION: Final = "consume_verification"
