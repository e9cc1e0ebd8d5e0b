"""Requests over HTTP with the standard library: who one is comes from the environment or from netrc."""

from __future__ import annotations

import html
import ipaddress
import netrc
import os
import re
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from provml_hpc._version import __version__
from provml_hpc.errors import StateError, UsageError

USER, PASSWORD = "PROVML_ENDPOINT_USER", "PROVML_ENDPOINT_PASSWORD"
"""The environment variables for who one is."""

TIMEOUT = 600.0
"""Seconds without a byte after which a server counts as gone: large graphs take their time."""

_BRIEF = 400
_AGENT = f"provml/{__version__}"


@dataclass(frozen=True)
class Credentials:
    """A name and a password, for one host."""

    user: str
    password: str

    @staticmethod
    def find(host: str) -> Credentials | None:
        """Return those of the environment, else those that netrc has for a host."""
        user, password = os.environ.get(USER), os.environ.get(PASSWORD)
        if user is not None and password is not None:
            return Credentials(user, password)
        if user is not None or password is not None:
            raise UsageError(f"Only one of {USER} and {PASSWORD} is set. Set both, or neither.")
        place = os.environ.get("NETRC")
        try:
            found = netrc.netrc(place if place else str(Path.home() / ".netrc")).authenticators(host)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, netrc.NetrcParseError) as error:
            raise UsageError(
                f"netrc cannot be read: {' '.join(str(error).split())}. Correct it, or set {USER} and {PASSWORD}."
            ) from None
        return Credentials(found[0], found[2] or "") if found else None


def check_address(address: str) -> str:
    """Return an address that can be asked, or raise UsageError."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c <= " " for c in address):
        raise UsageError(f"{address!r} is no address. Give one such as https://example.org/sparql")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"A password on the command line can be read by others. Set {USER} and {PASSWORD}, or use netrc."
        )
    if parts.fragment:
        raise UsageError(f"{address!r} ends in a fragment. Leave out what stands after the #.")
    return address


class Client:
    """Sends requests to one server, and proves who one is where the server asks.

    A password goes over the wire as it is only to a server on this machine or behind TLS.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        self.address = check_address(address)
        parts = urlsplit(address)
        host = parts.hostname or ""
        self._credentials = Credentials.find(host)
        self._safe = parts.scheme == "https" or _is_here(host)
        self._timeout = timeout
        self._opener = urllib.request.build_opener()

    def send(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        body: bytes | IO[bytes] | None = None,
        size: int = 0,
    ) -> Any:
        """Send a request and return its response, a context manager to read from.

        Parameters
        ----------
        method, address, headers
            Of the request.
        body
            Bytes, or a file of `size` bytes that can be rewound.
        size
            How long a file is.

        Raises
        ------
        StateError
            There is no answer, or none that is a success.
        """
        # A server that refuses closes the connection while a long body is still on its way: ask before.
        long = body is not None and not isinstance(body, bytes)
        challenge = self._challenge(address) if long else ""
        for _ in range(2):
            request = urllib.request.Request(address, method=method, data=body)
            request.add_header("User-Agent", _AGENT)
            for name, value in headers.items():
                request.add_header(name, value)
            if body is not None and not isinstance(body, bytes):
                body.seek(0)
                request.add_unredirected_header("Content-Length", str(size))
            self._identify(request, challenge or ("basic" if long and self._safe else ""))
            try:
                return self._opener.open(request, timeout=self._timeout)
            except urllib.error.HTTPError as error:
                with error:
                    said = error.headers.get("WWW-Authenticate") or ""
                    told = error.read(1 << 16).decode("utf-8", "replace")
                if error.code == 401 and said and not challenge and not long and self._credentials:
                    challenge = said
                    continue
                raise self._refused(error.code, error.reason, told) from None
            except (OSError, HTTPException) as error:
                raise self._silent(error) from None
        raise self._refused(401, "Unauthorized", "")

    def _challenge(self, address: str) -> str:
        """Return how a server asks who one is; empty if it does not."""
        request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": _AGENT})
        try:
            self._opener.open(request, timeout=self._timeout).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                if self._credentials is None:
                    raise self._refused(error.code, error.reason, "") from None
                return error.headers.get("WWW-Authenticate") or ""
        except (OSError, HTTPException) as error:
            raise self._silent(error) from None
        return ""

    def _identify(self, request: urllib.request.Request, challenge: str) -> None:
        who = self._credentials
        if who is None or not challenge:
            return
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "digest":
            told = urllib.request.parse_keqv_list([one for one in urllib.request.parse_http_list(rest) if "=" in one])
            passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
            passwords.add_password(None, request.full_url, who.user, who.password)
            # What urllib's own handler calls, whose retry would send a file from where it ended.
            handler: Any = urllib.request.AbstractDigestAuthHandler(passwords)
            proof = handler.get_authorization(request, told)
            if proof:
                request.add_unredirected_header("Authorization", f"Digest {proof}")
        elif not self._safe:
            raise StateError(f"{self.address} wants a password in the clear, without TLS. Use its https:// address.")
        else:
            token = b64encode(f"{who.user}:{who.password}".encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")

    def _silent(self, error: Exception) -> StateError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, (BrokenPipeError, ConnectionResetError)):
            return StateError(
                f"{self.address} broke off the transfer. Check the password, if it wants one, and how much it takes."
            )
        advice = "its certificate" if isinstance(reason, ssl.SSLError) else "that the server runs"
        return StateError(f"{self.address} does not answer ({_brief(str(reason))}). Check the address, and {advice}.")

    def _refused(self, code: int, reason: str, told: str) -> StateError:
        if code in (401, 403):
            advice = f"Set {USER} and {PASSWORD}, or use netrc." if not self._credentials else "Check the password."
            detail = f": {_brief(_plain(told))}" if told.strip() else ""
            return StateError(f"{self.address} refuses ({code} {reason}{detail}). {advice}")
        if code in (404, 405):
            return StateError(
                f"{self.address} does not do this ({code} {reason}). Check the address; see docs/stores.md."
            )
        detail = _brief(_plain(told))
        return StateError(
            f"{self.address} fails ({code} {reason}): {detail or 'it says no more'}. See the server's log."
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", text)) if "<" in text else text


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _BRIEF else line[:_BRIEF] + " ..."
