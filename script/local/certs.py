"""`script/certs`: an authority, certificates on loopback for both services, a caller, a gateway; and who may call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from script.local.certificates import Authority, Pair

ROOT: Final = Path(__file__).resolve().parents[2]
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
CALLER: Final = "spiffe://vibework.local/caller"
GATEWAY: Final = "spiffe://vibework.local/gateway"
# What each certificate is for: whose it is comes first, because callers are known by it.
NAMES: Final = {
    "users": ("users.vibework.local", *LOOPBACK),
    "notifications": ("notifications.vibework.local", *LOOPBACK),
    "caller": (CALLER,),
    "gateway": (GATEWAY,),
}
ENOUGH: Final = timedelta(days=30)
POLICY: Final = f"""\
# Who may call the services of script/server --tls; change it while they run (docs/access.md).
[[rules]]
callers = ["{CALLER}"]
rpcs = ["*"]

# script/gateway, for all that it is asked to call.
[[rules]]
callers = ["{GATEWAY}"]
rpcs = ["*"]

[[rules]]
callers = ["dns:users.vibework.local", "dns:notifications.vibework.local"]
rpcs = ["pair", "read"]
"""


@dataclass(frozen=True)
class Certificates:
    """The files in a folder."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that all of them trust."""
        return self.folder / "ca.crt"

    @property
    def policy(self) -> Path:
        """Who may call what."""
        return self.folder / "policy.toml"

    def certificate(self, name: str) -> Path:
        """Return the certificate of a service, of ``caller`` or of ``gateway``."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return its key."""
        return self.folder / f"{name}.key"

    def settings(self, name: str) -> dict[str, str]:
        """Return the settings of a service with these certificates, whose callers must have one, too."""
        return {
            "TLS_CERT_FILE": str(self.certificate(name)),
            "TLS_KEY_FILE": str(self.key(name)),
            "TLS_CLIENT_CA_FILE": str(self.authority),
            "PEER_TLS_CA_FILE": str(self.authority),
            "ACCESS_POLICY_FILE": str(self.policy),
        }

    def is_good(self) -> bool:
        """Say whether all are there, and good for a while."""
        files = [self.authority, *map(self.certificate, NAMES)]
        if not all(path.exists() for path in (*files, *map(self.key, NAMES), self.policy)):
            return False
        ends = [x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc for path in files]
        return min(ends) > datetime.now(UTC) + ENOUGH

    def make(self) -> None:
        """Make all anew. The authority's own key is kept nowhere: whoever had it could be any caller."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        authority = Authority.new("VibeWork on this machine")
        for name, alternative in NAMES.items():
            self._write(name, authority.issue(name, alternative))
        self.authority.write_bytes(authority.certificate)
        if not self.policy.exists():
            self.policy.write_text(POLICY)

    def _write(self, name: str, pair: Pair) -> None:
        key = self.key(name)
        key.unlink(missing_ok=True)
        key.touch(mode=0o600)
        key.write_bytes(pair.key)
        self.certificate(name).write_bytes(pair.certificate)


def made(folder: Path, *, anew: bool = False) -> Certificates:
    """Return the certificates of a folder, made where they are not there or soon end."""
    found = Certificates(folder)
    if anew or not found.is_good():
        found.make()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing and print where it is."""
    parser = argparse.ArgumentParser(prog="script/certs", description=__doc__)
    parser.add_argument("--directory", type=Path, default=ROOT / ".local" / "certs", help="default: .local/certs")
    parser.add_argument("--new", action="store_true", help="make all anew, whatever is there")
    options = parser.parse_args(arguments)
    certificates = made(options.directory.resolve(), anew=options.new)
    print(f"authority  {certificates.authority}")
    for name, alternative in NAMES.items():
        print(f"{name:<14} {certificates.certificate(name)} {certificates.key(name)}: {', '.join(alternative)}")
    print(f"policy     {certificates.policy}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
