"""Payloads and their code: the laws that an error-correcting code keeps, and the library it is taken from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.errors import WatermarkError
from auditkit.watermark import payload
from auditkit.watermark.payload import CODES, LONG_WORD, SHORT_WORD, Payload, decode, encode, encode_many
from auditkit.watermark.soft_decoding import likeliest

payloads = st.builds(Payload, st.integers(0, 2**24 - 1), st.integers(0, 2**40 - 1))
lengths = st.sampled_from([LONG_WORD, SHORT_WORD])
# galois compiles for seconds for each field it works in.
by_galois = pytest.mark.parametrize("bits", [LONG_WORD, pytest.param(SHORT_WORD, marks=pytest.mark.slow)])


@given(payloads)
def test_a_payload_is_its_number_and_its_text(sent: Payload) -> None:
    assert Payload.from_int(int(sent)) == sent
    assert Payload.parse(str(sent)) == sent
    assert 0 <= int(sent) < 2**64


def test_a_model_alone_is_a_payload_of_user_0() -> None:
    assert Payload.parse("7") == Payload(7, 0)


@pytest.mark.parametrize(("model", "user"), [(2**24, 0), (0, 2**40), (-1, 0), (0, -1), (1.5, 0)])
def test_a_payload_that_is_too_long_is_refused_and_the_room_named(model: int, user: int) -> None:
    with pytest.raises(WatermarkError, match=r"does not fit into (24|40) bits"):
        Payload(model, user)


@pytest.mark.parametrize("text", ["", "a", "1:2:3", "-1", "1:", "1.0", "٣:x"])
def test_text_that_is_no_payload_is_refused(text: str) -> None:
    with pytest.raises(WatermarkError):
        Payload.parse(text)


@given(payloads, lengths)
def test_a_word_begins_with_the_payload_and_is_a_multiple_of_the_generator(sent: Payload, bits: int) -> None:
    word = encode(sent, bits)
    assert word.dtype == np.uint8
    assert len(word) == bits
    assert int("".join(map(str, word[:64])), 2) == int(sent)
    rest, generator = int("".join(map(str, word)), 2), CODES[bits].generator
    while rest.bit_length() >= generator.bit_length():
        rest ^= generator << (rest.bit_length() - generator.bit_length())
    assert rest == 0


@by_galois
def test_the_generator_is_the_one_of_galois(bits: int) -> None:
    code = CODES[bits]
    theirs = payload._decoder(code)
    assert int(theirs.generator_poly) == code.generator
    assert theirs.t == code.corrects


@given(payloads, payloads, lengths)
def test_the_code_is_linear_and_its_words_lie_far_apart(one: Payload, other: Payload, bits: int) -> None:
    both = encode(one, bits) ^ encode(other, bits)
    assert np.array_equal(both, encode(Payload.from_int(int(one) ^ int(other)), bits))
    assert one == other or both.sum() >= 2 * CODES[bits].corrects + 1


def test_many_payloads_are_encoded_as_one_is() -> None:
    numbers = np.random.default_rng(0).integers(0, 2**64, 20, dtype=np.uint64)
    for number, word in zip(numbers, encode_many(numbers, LONG_WORD), strict=True):
        assert np.array_equal(word, encode(Payload.from_int(int(number))))


@by_galois
@settings(max_examples=25)
@given(sent=payloads, data=st.data())
def test_any_wrong_bits_up_to_the_codes_limit_are_mended(bits: int, sent: Payload, data: st.DataObject) -> None:
    wrong = data.draw(st.sets(st.integers(0, bits - 1), max_size=CODES[bits].corrects))
    word = encode(sent, bits)
    word[list(wrong)] ^= 1
    assert decode(word) == (sent, len(wrong))


def test_a_random_long_word_is_no_payload() -> None:
    rng = np.random.default_rng(1)
    assert all(decode(rng.integers(0, 2, LONG_WORD, dtype=np.uint8)) is None for _ in range(20))


@given(payloads, lengths, st.integers(0, 2**32 - 1))
def test_soft_decoding_reads_what_the_channel_left_readable(sent: Payload, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rho = 0.85  # a twentieth of the bits wrong
    soft = rho * (2.0 * encode(sent, bits) - 1) + (1 - rho**2) ** 0.5 * rng.standard_normal(bits)
    assert likeliest(soft) == sent


def test_soft_decoding_reads_words_with_more_wrong_bits_than_the_code_corrects() -> None:
    rng = np.random.default_rng(2)
    read = beyond = 0
    for _ in range(20):
        sent = Payload.from_int(int(rng.integers(0, 2**63)))
        word = encode(sent)
        soft = 0.7 * (2.0 * word - 1) + 0.51**0.5 * rng.standard_normal(LONG_WORD)
        beyond += ((soft > 0) != word).sum() > CODES[LONG_WORD].corrects
        read += likeliest(soft) == sent
    assert beyond >= 15
    assert read >= 16


def test_soft_values_of_one_size_are_decoded_by_the_algebraic_decoder() -> None:
    word = encode(Payload(3, 4))
    word[10:39] ^= 1
    assert likeliest(2.0 * word - 1) == Payload(3, 4)
    assert likeliest(np.zeros(LONG_WORD)) is None
