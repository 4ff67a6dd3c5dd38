"""A name server for the SRV and TXT records of `mongodb+srv://`, which a test can take away and give back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest
from vibework.testing.local.ports import LOOPBACK

# The driver wants names of three parts, and members of the same domain.
CLUSTER = "cluster.vibework.test"
MEMBER = "member.vibework.test"


@dataclass
class NameServer:
    """Answers for one cluster, whose only member listens on this machine."""

    member_port: int
    # While it is not set, the answer is that the server has failed.
    works: bool = True
    asked: int = 0
    _socket: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def listen(self) -> int:
        """Take a port and return it."""
        self._socket.bind((LOOPBACK, 0))
        return int(self._socket.getsockname()[1])

    def run(self) -> None:
        """Answer until ``end``."""
        while True:
            packet, peer = self._socket.recvfrom(4096)
            if not packet:
                return
            self.asked += 1
            self._socket.sendto(self._answer(dns.message.from_wire(packet)).to_wire(), peer)

    def _answer(self, question: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(question)
        response.flags |= dns.flags.RA
        asked = question.question[0]
        if not self.works:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif asked.rdtype == dns.rdatatype.SRV and CLUSTER in asked.name.to_text():
            response.answer.append(
                dns.rrset.from_text(asked.name, 60, "IN", "SRV", f"0 5 {self.member_port} {MEMBER}.")
            )
        return response

    def end(self) -> None:
        """Let ``run`` return."""
        self._socket.sendto(b"", self._socket.getsockname())

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()


@contextmanager
def name_server(member_port: int, patch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """Have this process ask a name server of the test's own, for as long as the context lasts."""
    server = NameServer(member_port)
    port = server.listen()
    for module, kind in ((dns.resolver, dns.resolver.Resolver), (dns.asyncresolver, dns.asyncresolver.Resolver)):
        asking = kind(configure=False)
        asking.nameservers, asking.port = [LOOPBACK], port
        patch.setattr(module, "default_resolver", asking)
    found = socket.getaddrinfo
    patch.setattr(socket, "getaddrinfo", lambda host, *rest, **how: found(_known(host), *rest, **how))
    thread = threading.Thread(target=server.run, name="name server")
    thread.start()
    try:
        yield server
    finally:
        server.end()
        thread.join()
        server.close()


def _known(host: str) -> str:
    return LOOPBACK if host == MEMBER else host
