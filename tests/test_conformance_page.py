"""conformance.md lists the tests as they are."""

import conformance


def test_every_row_has_a_test_or_a_reason_why_not():
    tested = {row for rows, _, _ in conformance.tests() for row in rows}
    assert tested.isdisjoint(conformance.WITHOUT_TEST)
    assert tested | set(conformance.WITHOUT_TEST) == set(conformance.ROWS)


def test_page_is_up_to_date():
    assert conformance.PAGE.read_text() == conformance.page(), "run: python3 tests/conformance.py"
