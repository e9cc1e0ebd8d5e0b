"""No secret of a command line reaches a record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provml_hpc.environment.redaction import HIDDEN, is_secret_name, redact_arguments, redact_text

SECRET = "hunter2-Zq9"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--password", SECRET],
        [f"--password={SECRET}"],
        [f"--hf-token={SECRET}, and blanks {SECRET}"],
        ["-token", SECRET],
        [f"wandb.api_key={SECRET}"],
        [f"+trainer.apiKey={SECRET}"],
        [f"API_KEY={SECRET}"],
        [f'{{"db": {{"password": "{SECRET} {SECRET}", "port": 1}}}}'],
        [f"{{'secret': '{SECRET}'}}"],
        ["-H", f"Authorization: Bearer {SECRET}"],
        [f"https://example.org/x?a=1&X-Amz-Signature={SECRET}&b=2"],
        [f"https://user:{SECRET}@example.org/x"],
        [f"https://{SECRET}@example.org/x"],
        [f"--store=s3://key:{SECRET}@host/bucket"],
        [f"mysql+pymysql://u:{SECRET}@h/db"],
        ["-c", f"login(token='{SECRET}')"],
        [f"login --password={SECRET} --epochs 3"],
    ],
)
def test_a_secret_is_hidden(arguments: list[str]) -> None:
    text = " ".join(redact_arguments(["train.py", *arguments, "--epochs", "3"]))
    assert SECRET not in text
    assert HIDDEN in text
    assert text.endswith("--epochs 3")


@pytest.mark.parametrize(
    "token",
    [
        "ghp_0123456789abcdefABCDEF0123456789abcd",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "glpat-abcdefghijklmnopqrst",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_known_tokens_are_hidden_anywhere(token: str) -> None:
    assert redact_arguments(["x", f"in{token}"[2:], f"a={token}"]) == ["x", HIDDEN, f"a={HIDDEN}"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train.py", "--lr", "1e-3", "--max-tokens", "512", "--tokenizer=bert-base", "--pin-memory", "--key", "k"],
        ["--data", "https://example.org/a?x=1", "git@github.com:a/b.git", "ssh://git@host/a.git"],
        ["--password", "--epochs", "3"],
        ["--author=Jo", "--master-port=29500", "--key-dim=64", "--mail", "a@b.org"],
    ],
)
def test_what_is_no_secret_stays(arguments: list[str]) -> None:
    assert redact_arguments(arguments) == arguments


def test_a_token_beside_a_name_is_hidden_once() -> None:
    assert redact_text("token=ghp_0123456789abcdefABCDEF0123456789abcd") == f"token={HIDDEN}"


@pytest.mark.parametrize(
    "name", ["passwd", "DB_PASSWORD", "awsSecretAccessKey", "--auth", "x.credentials", "privateKeys"]
)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("unit", ["x", "eyJ", "a://", "a:", " ", "=", '"', "-----BEGIN ", "sk-", "a.", "token", "@"])
def test_a_long_argument_does_not_hold_up_the_run(unit: str) -> None:
    # Quadratic time would end in the time limit of the test.
    assert redact_arguments([unit * (2**20 // len(unit))])


@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_command_line_is_taken(arguments: list[str]) -> None:
    assert len(redact_arguments(arguments)) == len(arguments)


@given(st.text(alphabet=st.characters(categories=["Ll", "Lu", "Nd"]), min_size=4, max_size=30))
def test_any_value_of_a_secret_option_is_hidden(value: str) -> None:
    assert redact_arguments(["--password", value, f"--token={value}", f"x api_key={value}"]) == [
        "--password",
        HIDDEN,
        f"--token={HIDDEN}",
        f"x api_key={HIDDEN}",
    ]
