"""Take secrets out of a command line before it is recorded.

The rule, which prefers hiding too much to telling a secret:

1. A name is secret when one of its words is ``token``, ``password``, ``secret``, ``auth`` or another of `SECRET_WORDS`,
   or when one is ``key`` behind a word such as ``api``, ``access`` or ``private``. Words are split at ``-``, ``_``,
   ``.`` and at changes from small to capital letters; ``apikey`` and its kin count without a split. ``--max-tokens``
   and ``--tokenizer`` are not secret, because ``tokens`` and ``tokenizer`` are other words.
2. The value of a secret name is hidden in ``--name=value``, ``--name value``, ``name=value``, ``{"name": "value"}``,
   ``name: value`` and ``?name=value&``.
3. The user part of an address (``https://user:password@host``) is hidden; a bare user name in ``ssh://git@host`` stays.
4. Well-known forms of tokens (GitHub, GitLab, Hugging Face, OpenAI, Slack, AWS, JSON web tokens, private keys) are
   hidden wherever they stand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

HIDDEN = "[redacted]"

# fmt: off
SECRET_WORDS = frozenset(
    {
        "token", "secret", "secrets", "password", "passwords", "passwd", "passphrase", "passcode", "pass",
        "pwd", "pw", "credential", "credentials", "creds", "cred", "auth", "authorization", "authentication",
        "bearer", "cookie", "cookies", "jwt", "sas", "sig", "signature", "apikey", "accesskey", "secretkey",
        "privatekey", "authtoken", "accesstoken"
    }
)
_KEY_OWNERS = frozenset(
    {
        "api", "access", "secret", "private", "account", "auth", "encryption", "signing", "ssh", "shared",
        "master", "storage", "service", "client", "session", "subscription", "license", "app", "application",
        "rsa", "wandb", "comet", "neptune", "openai", "hf", "aws", "azure", "gcp"
    }
)
# fmt: on
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
# A name or a scheme starts only where none is going on: without that, a long word is tried from each of its letters.
_NAMED = re.compile(r"""(?<![A-Za-z0-9_.\-])(?P<name>[A-Za-z0-9_.\-]+)\\?["']?\s*[=:]\s*""")
_VALUE = re.compile(r"""\\?"[^"]*"?|'[^']*'?|(?:(?:bearer|basic|token|digest)\s+)?[^\s"',;&}\])]+""", re.IGNORECASE)
_WHOLE = re.compile(r"(?P<name>[+~]{0,2}-{0,2}[A-Za-z_][A-Za-z0-9_.\-]*)=", re.ASCII)
_OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9_.\-]*")
_USER_PART = re.compile(r"(?<![A-Za-z0-9+.\-])(?P<scheme>[A-Za-z0-9+.\-]+)://(?P<user>[^\s/?#]+)@")
_PLAIN = re.compile(
    r"[-+]?\d{0,9}\.?\d{1,9}(?:[eE][-+]?\d{1,3})?|\d{1,9}\.|true|false|yes|no|on|off|none|null|inf|nan|",
    re.IGNORECASE | re.ASCII,
)
_LONGEST_PATH = 4096
_TOKENS = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_\-]{16,}|hf_[A-Za-z0-9]{16,}"
    r"|sk-[A-Za-z0-9_\-]{16,}|xox[abeoprs]-[A-Za-z0-9\-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def is_secret_name(name: str) -> bool:
    """Tell whether a value under this name is to be hidden.

    Examples
    --------
    >>> [is_secret_name(name) for name in ("--hf-token", "wandb.apiKey", "max_tokens", "key")]
    [True, True, False, False]
    """
    words = [word.lower() for word in _WORD_ENDS.split(name) if word]
    if not SECRET_WORDS.isdisjoint(words):
        return True
    return any(word in {"key", "keys"} and words[place - 1] in _KEY_OWNERS for place, word in enumerate(words) if place)


def redact_text(text: str) -> str:
    """Hide what looks like a secret inside one piece of text.

    Examples
    --------
    >>> redact_text("https://me:hunter2@example.org/data?sig=abc&n=3")
    'https://[redacted]@example.org/data?sig=[redacted]&n=3'
    """
    text = _hide_values(text)
    text = _USER_PART.sub(_hide_user, text)
    return _TOKENS.sub(HIDDEN, text)


def plain_arguments(arguments: Sequence[str], programs: Collection[int] = ()) -> list[str]:
    """Keep of a command line what cannot be a secret, and hide all else.

    Kept are the names of options, short numbers, yes and no, and paths that are there, unless their option has a secret
    name; and the words at some places, which name programs.

    Examples
    --------
    >>> plain_arguments(["train.py", "--lr=0.1", "--name", "blue", "--pin", "7", "--token", "12"], {0})
    ['train.py', '--lr=0.1', '--name', '[redacted]', '--pin', '7', '--token', '[redacted]']
    """
    clean: list[str] = []
    secret = False
    for place, argument in enumerate(arguments):
        named = _WHOLE.match(argument)
        if place in programs or (_OPTION.fullmatch(argument) and not _TOKENS.search(argument)):
            clean.append(redact_text(argument))
        elif named:
            value = argument[named.end() :]
            kept = _is_plain(value) and not is_secret_name(named["name"])
            clean.append(argument[: named.end()] + (value if kept else HIDDEN))
        else:
            clean.append(argument if _is_plain(argument) and not secret else HIDDEN)
        secret = bool(_OPTION.fullmatch(argument)) and is_secret_name(argument)
    return clean


def _is_plain(value: str) -> bool:
    if _PLAIN.fullmatch(value):
        return True
    # A path says no more than its name, which is in the open on the file system.
    try:
        return len(value) <= _LONGEST_PATH and os.path.lexists(value) and not _TOKENS.search(value)
    except ValueError:
        return False


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """Hide what looks like a secret in a command line, argument by argument.

    Examples
    --------
    >>> redact_arguments(["train.py", "--password", "x y", "--lr=0.1", "api_key=12;34"])
    ['train.py', '--password', '[redacted]', '--lr=0.1', 'api_key=[redacted]']
    """
    clean: list[str] = []
    hide_next = False
    for argument in arguments:
        if hide_next and not _OPTION.fullmatch(argument):
            clean.append(HIDDEN)
            hide_next = False
            continue
        whole = _WHOLE.match(argument)
        if whole and is_secret_name(whole["name"]):
            # The argument as a whole is the assignment, so everything behind the sign is the value, blanks and all.
            clean.append(argument[: whole.end()] + HIDDEN)
        else:
            clean.append(redact_text(argument))
        hide_next = bool(_OPTION.fullmatch(argument)) and is_secret_name(argument)
    return clean


def _hide_user(match: re.Match[str]) -> str:
    if match["scheme"].lower() in {"ssh", "git+ssh", "sftp"} and ":" not in match["user"]:
        return match[0]
    return f"{match['scheme']}://{HIDDEN}@"


def _hide_values(text: str) -> str:
    """Hide the values of secret names, and look into the others: ``https://host/?token=...`` is one."""
    parts: list[str] = []
    kept = place = 0
    while named := _NAMED.search(text, place):
        place = named.end()
        value = _VALUE.match(text, place) if is_secret_name(named["name"]) else None
        if value:
            quote = value[0][0] if value[0][0] in "\"'" else ""
            parts += (text[kept:place], quote, HIDDEN, quote)
            kept = place = value.end()
    return "".join((*parts, text[kept:]))
