from __future__ import annotations

import pytest

from domain.addresses import Address, parse_address
from domain.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:4317", Address("127.0.0.1", 4317)),
        ("[::1]:0", Address("::1", 0)),
        ("otel.internal:65535", Address("otel.internal", 65535)),
        ("off", None),
        (" OFF ", None),
        ("", None),
    ],
)
def test_addresses_are_read(text: str, expected: Address | None) -> None:
    assert parse_address("grpc_listen", text) == expected


@pytest.mark.parametrize("text", ["4317", ":4317", "host:", "host:x", "host:65536", "host:-1", "host:٣"])
def test_what_is_no_address_names_the_setting(text: str) -> None:
    with pytest.raises(SettingsError, match="CAUSEGRAPH_GRPC_LISTEN"):
        parse_address("grpc_listen", text)


def test_loopback_is_what_no_other_machine_reaches() -> None:
    assert [Address(host, 1).is_loopback for host in ("127.0.0.9", "::1", "localhost", "10.0.0.1", "db")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert str(Address("::1", 5)) == "[::1]:5"
