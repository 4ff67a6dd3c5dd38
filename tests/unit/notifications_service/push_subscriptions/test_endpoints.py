"""Endpoints: which URLs and addresses this system calls, and in which spellings others hide."""

from __future__ import annotations

import pytest

from notifications_service.push_subscriptions.endpoints import EndpointRefused, EndpointRules, PushEndpoint

RULES, LOOPBACK = EndpointRules(), EndpointRules(allow_loopback=True)

CALLED = {
    "https://fcm.googleapis.com/fcm/send/a:b-c_d": "https://fcm.googleapis.com",
    "https://updates.push.services.mozilla.com/wpush/v2/gAAA==": "https://updates.push.services.mozilla.com",
    "https://web.push.apple.com/QOx?a=1&b=%20": "https://web.push.apple.com",
    "https://db5p.notify.windows.com:443/w/?token=B%2f": "https://db5p.notify.windows.com",
    "https://Push.Example.COM": "https://push.example.com",
    "https://xn--bcher-kva.example/": "https://xn--bcher-kva.example",
    "https://3com.com/": "https://3com.com",
    "https://93.184.216.34/x": "https://93.184.216.34",
    "https://[2606:4700::6810:84e5]/x": "https://[2606:4700::6810:84e5]",
}

REFUSED = {
    "no https": [
        "http://push.example.com/",
        "HTTPS://push.example.com/",
        "ftp://push.example.com/",
        "//push.example.com",
    ],
    "no host": ["https://", "https:///x", "https:push.example.com", "https://:443/", "https://?x"],
    "a user": ["https://a@push.example.com/", "https://a:b@push.example.com/", "https://push.example.com@127.0.0.1/"],
    "a fragment": ["https://push.example.com/#a", "https://push.example.com#@127.0.0.1/"],
    "what readers of URLs differ about": [
        "https://push.example.com\\@127.0.0.1/",
        "https://push.example.com\\.internal/",
        "https://push.example.com/\\",
        "https://push.example.com/a b",
        "https://push.example.com/a\n",
        "https://push.example.com\n",
        "https://push.example.com/a\tb",
        "https://push.example.com/ü",
        "https://push.ex%61mple.com/",
        "https://push_service.example.com/",
        "https://bücher.example/",
        "https://push。example。com/",
        "https://①②⑦.0.0.1/",
        " https://push.example.com/",
        "https://push.example.com/" + "a" * 2_048,
    ],
    "odd ports": [
        "https://push.example.com:80/",
        "https://push.example.com:22/",
        "https://push.example.com:8443/",
        "https://push.example.com:0/",
        "https://push.example.com:65536/",
        "https://push.example.com:00443443/",
        "https://push.example.com:/",
        "https://push.example.com:-1/",
        "https://push.example.com:443:443/",
    ],
    "names of no public host": [
        "https://localhost/",
        "https://LOCALHOST:443/",
        "https://intranet/",
        "https://push.example.com./",
        "https://push..example.com/",
        "https://.example.com/",
        "https://-a.example.com/",
        "https://a-.example.com/",
        f"https://{'a' * 64}.example.com/",
        f"https://{'a.' * 127}com/",
    ],
    "IPv4 addresses in other spellings": [
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.0.0.1./",
        "https://1.2.3.4./",
        "https://93.184.216.034/",
        "https://push.example.com.0x/",
        "https://a.b.c.256/",
        "https://1.2.3.4.5/",
    ],
    "IPv4 addresses that are not public": [
        f"https://{address}/"
        for address in (
            "0.0.0.0",  # noqa: S104
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        )
    ],
    "IPv6 addresses that are not public, or stand for others": [
        f"https://[{address}]/"
        for address in (
            "::",
            "::1",
            "0:0:0:0:0:0:0:1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "::ffff:93.184.216.34",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::93.184.216.34",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fe80::1%eth0",
            "fe80::1%25eth0",
            "fec0::1",
            "ff02::1",
            "2606:4700::6810:84e5%1",
            "1::2::3",
            "127.0.0.1",
        )
    ],
}


@pytest.mark.parametrize(("url", "origin"), CALLED.items())
def test_endpoints_of_push_services_are_called(url: str, origin: str) -> None:
    """Those that browsers have, and their origin, which is what VAPID signs."""
    found = RULES.parse(url)
    assert (found.url, found.origin) == (url, origin)


@pytest.mark.parametrize("url", [url for urls in REFUSED.values() for url in urls])
def test_what_may_lead_elsewhere_is_refused(url: str) -> None:
    """No spelling leads into a network that is not public."""
    with pytest.raises(EndpointRefused) as refused:
        RULES.parse(url)
    assert url not in str(refused.value)


@pytest.mark.parametrize("url", ["https://127.0.0.1:8443/a", "https://localhost:1/a", "https://[::1]:65535/a"])
def test_this_machine_is_called_where_the_setting_says_so(url: str) -> None:
    """Tests have their push service on a port of their own; without the setting nobody has."""
    assert isinstance(LOOPBACK.parse(url), PushEndpoint)
    with pytest.raises(EndpointRefused):
        RULES.parse(url)


ON_THIS_MACHINE = (
    "https://127.",
    "https://[::1]",
    "https://[0:0:0:0:0:0:0:1]",
    "https://localhost/",
    "https://LOCALHOST",
)


@pytest.mark.parametrize(
    "url", [url for urls in REFUSED.values() for url in urls if not url.startswith(ON_THIS_MACHINE)]
)
def test_the_setting_allows_nothing_else(url: str) -> None:
    """What is refused without it is refused with it, this machine itself apart."""
    with pytest.raises(EndpointRefused):
        LOOPBACK.parse(url)


@pytest.mark.parametrize("address", ["not an address", "", "fe80::1%eth0", "2606:4700::1%1", "::ffff:127.0.0.1"])
def test_an_address_that_cannot_be_judged_is_refused(address: str) -> None:
    """Neither zones nor disguises are connected to, whatever a resolver says."""
    assert not LOOPBACK.allows(address)
