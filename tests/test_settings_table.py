"""What settings mean, beside what the config makes of them."""

from __future__ import annotations

import pytest

from ocsp_cgi import config, settings_table

SETTINGS = {**settings_table.OF_A_CA, **settings_table.OF_THE_RESPONDER}
REQUIRED = "[a]\ndb = db\nca = ca.crt\nrsigner = ocsp.crt\nrkey = ocsp.key\n"


def test_every_setting_is_described_in_its_order():
    assert list(settings_table.OF_A_CA) == list(config.CA_SETTINGS)
    assert list(settings_table.OF_THE_RESPONDER) == list(config.RESPONDER_SETTINGS)


def load(name: str, value: str) -> object:
    """What the config makes of a value."""
    second = "rsigner2 = second.crt\nrkey2 = second.key\n" if name.endswith("2") else ""
    others = ("rkey", name) if name == "cache_from" else (name,)
    lines = [
        line for line in f"{REQUIRED}{second}".splitlines() if line.split(" =")[0] not in others
    ]
    if name in config.RESPONDER_SETTINGS:
        lines.append("[responder]")
    settings = config.parse("\n".join([*lines, f"{name} = {value}"]), "/etc/ssl/ocsp-cgi.conf")
    return getattr(settings if name in config.RESPONDER_SETTINGS else settings.cas[0], name)


@pytest.mark.parametrize("name", SETTINGS)
def test_its_example_is_a_value_and_not_the_default(name):
    assert load(name, SETTINGS[name].example) is not None
    if name != "nmin":  # the default is the best advice
        assert SETTINGS[name].example != SETTINGS[name].default


@pytest.mark.parametrize("name", SETTINGS)
def test_its_default_is_that_of_the_config(name):
    settings = config.parse(REQUIRED, "/etc/ssl/ocsp-cgi.conf")
    value = getattr(settings if name in config.RESPONDER_SETTINGS else settings.cas[0], name)
    default = SETTINGS[name].default
    if name == "max_age":
        assert (value, default) == (None, "half of `nmin`")
    elif name == "stale_after":
        assert not value and load(name, default) == 0
    elif default:
        assert str(value) == default
    else:
        assert not value or name in ("db", "ca", "rsigner", "rkey")


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_written_as_a_sentence(name):
    its = SETTINGS[name]
    assert not its.what.endswith(".") and its.what[0].islower()
    assert not its.more or its.more.endswith(".")
