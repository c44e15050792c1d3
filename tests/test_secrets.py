"""Encryption at rest."""

import pytest

from cortexql.secrets import Cipher, SecretLostError


@pytest.mark.parametrize("plain", ["", "hunter2", "zażółć\0\n", "x" * 100_000])
def test_a_secret_comes_back_and_its_cipher_text_does_not_show_it(plain: str) -> None:
    stored = Cipher("key").encrypt(plain)
    assert Cipher("key").decrypt(stored) == plain
    assert not plain or plain not in stored
    assert stored != Cipher("key").encrypt(plain)


@pytest.mark.parametrize("stored", ["", ":", "abc", "żółć:ć", None])
def test_what_was_not_written_under_this_key_is_lost(stored: str | None) -> None:
    cipher, other = Cipher("key"), Cipher("another")
    with pytest.raises(SecretLostError, match=f"not with this {cipher.key_id}"):
        cipher.decrypt(other.encrypt("hunter2") if stored is None else stored)


def test_a_tampered_secret_is_lost() -> None:
    cipher = Cipher("key")
    stored = cipher.encrypt("hunter2")
    with pytest.raises(SecretLostError):
        cipher.decrypt(stored[:-10] + ("A" if stored[-10] != "A" else "B") + stored[-9:])


def test_an_old_key_decrypts_only_and_what_it_wrote_is_renewed() -> None:
    rotated, stored = Cipher("new", ["older", "old"]), Cipher("old").encrypt("hunter2")
    assert rotated.decrypt(stored) == "hunter2"
    renewed = rotated.renew(stored)
    assert Cipher("new").decrypt(renewed) == "hunter2"
    assert rotated.renew(renewed) == renewed
    assert rotated.encrypt("x").startswith(f"{Cipher('new').key_id}:")
    with pytest.raises(SecretLostError):
        Cipher("new", ["older"]).renew(stored)
