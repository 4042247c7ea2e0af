"""What `[destination.webhook]` and `webhook:` may say, and what is refused with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from webhook_shop import SECRET, WebhookShop

from tailrace.destinations.registry import project_models, type_of
from tailrace.destinations.webhook.settings import read_limits, read_settings
from tailrace.errors import ConfigurationError, ModelError, UserError

URL = "https://crm.example.com/hooks/vip"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "crm.example.com/hooks"}, "url is not a URL"),
        ({"url": "ftp://crm.example.com"}, "url is not a URL"),
        ({"url": "https://"}, "url is not a URL"),
        ({"url": "https://crm.example.com:port/"}, "url is not a URL"),
        ({"url": "https://crm.example.com/a b"}, "url is not a URL"),
        ({"url": "https://crm.example.com\\@evil.example"}, "url is not a URL"),
        ({"url": "http://crm.example.com/"}, "plain http is allowed for localhost only"),
        ({"url": "https://ann:pw@crm.example.com/"}, "holds a user name or a password"),
        ({"url": "salesforce:/services/data/v64.0"}, "is not the path of an Apex class"),
        ({"url": "salesforce:/services/apexrest/"}, "is not the path of an Apex class"),
        ({"url": "salesforce:/services/apexrest/../data"}, "is not the path of an Apex class"),
        ({"url": "salesforce://evil.example/services/apexrest/x"}, "not the path of an Apex"),
        ({"url": ""}, "url is not configured"),
        ({"secret": ""}, "is not a secret of Standard Webhooks"),
        ({"secret": "whsec_short"}, "is not a secret of Standard Webhooks"),
        ({"secret": SECRET.removeprefix("whsec_")}, "is not a secret of Standard Webhooks"),
        ({"secret": f"{SECRET} {SECRET} {SECRET}"}, "is not a secret of Standard Webhooks"),
        ({"proxy": "my proxy"}, "proxy is not a URL"),
        ({"method": "GET"}, "one of POST, PUT, PATCH"),
        ({"batch_rows_max": 0}, "a whole number > 0"),
        ({"headers": "X-Team"}, "headers .* is not a table of texts"),
        ({"headers": '{"X-Team": 5}'}, "headers .* is not a table of texts"),
        ({"headers": '{"X Team": "a"}'}, "is not the name of a header"),
        ({"headers": '{"X-Team": "a\\nHost: b"}'}, "a value that no header can have"),
        ({"headers": '{"Content-Length": "5"}'}, "is set by Tailrace itself"),
        ({"headers": '{"Webhook-Signature": "v1,x"}'}, "is set by Tailrace itself"),
        ({"batch_row_max": 5}, 'Did you mean "BATCH_ROWS_MAX"'),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    shop = WebhookShop(tmp_path, URL)
    shop.set(**settings)
    project = shop.project
    with (
        pytest.raises(ConfigurationError, match=message) as raised,
        project.locating(),
        project.locating(),
    ):
        read_settings(project, "webhook")
    assert 2 == raised.value.exit_code
    assert SECRET not in str(raised.value)
    # Several callers locate an error; the variable is named once.
    assert str(raised.value).count("$DESTINATION__") <= 1


def test_a_plan_checks_what_is_configured_without_secrets(tmp_path: Path) -> None:
    shop = WebhookShop(tmp_path, URL)
    del shop.environ["DESTINATION__WEBHOOK__SECRET"]
    assert 200 == read_limits(shop.project, "webhook").batch_rows_max
    shop.set(url="crm.example.com")
    with pytest.raises(ConfigurationError, match="not a URL"):
        read_limits(shop.project, "webhook")


def test_headers_of_both_files_are_merged_and_no_secret_is_shown(tmp_path: Path) -> None:
    shop = WebhookShop(tmp_path, URL)
    config = shop.root / ".dlt" / "config.toml"
    team = '\n[destination.webhook]\nheaders = {X-Team = "growth", X-A = "1"}\n'
    config.write_text(config.read_text() + team)
    secrets = '[destination.webhook]\nheaders = {Authorization = "Bearer sesame", X-A = "2"}\n'
    (shop.root / ".dlt" / "secrets.toml").write_text(secrets)
    settings = read_settings(shop.project, "webhook")
    assert {"Authorization": "Bearer sesame", "X-Team": "growth", "X-A": "2"} == settings.headers
    assert not {"sesame", SECRET, "hooks/vip"} & set(repr(settings).split("'"))
    assert "sesame" not in repr(settings) and SECRET not in repr(settings)


def test_a_section_named_after_its_type_needs_no_type(tmp_path: Path) -> None:
    shop = WebhookShop(tmp_path, URL)
    assert "webhook" == type_of(shop.project, "webhook").name
    assert "segment" == type_of(shop.project, "segment_eu").name
    shop.environ["DESTINATION__CRM__TYPE"] = "webhok"
    with pytest.raises(ConfigurationError, match='Did you mean "webhook"'):
        type_of(shop.project, "crm")


def errors_of(shop: WebhookShop) -> list[tuple[str, int | None]]:
    models = project_models(shop.project)
    return [(e.message, e.line) for broken in models.broken.values() for e in flat(broken.errors)]


def flat(errors: tuple[ModelError, ...]) -> list[UserError]:
    return [entry for error in errors for entry in error.flattened()]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("block", "more", "message", "line"),
    [
        ("\n  bodi: {a: email}", "", '"bodi" is not a key of webhook', 5),
        ("\n  body: text", "", "webhook.body must be names with columns", 5),
        ("\n  body:", "", "webhook.body must be .*it is empty", 5),
        ("\n  body: {}", "", "webhook.body must be names with columns", 5),
        ("\n  body:\n    a: 5", "", "webhook.body.a is not a column", 6),
        ("\n  body:\n    a: [email, {b: 1}]", "", "webhook.body.a.1.b is not a column", 6),
        ("\n  body:\n    a: {column: email, hash: md5}", "", "hash must be one of sha256", 6),
        ("\n  body:\n    a: emial", "", 'has no column "emial".*Did you mean "email"', 6),
        ("\n  body:\n    a: [email, {b: emial}]", "", 'has no column "emial"', 6),
        ("\n  send: [entred]", "", "must be entered, changed or exited", 5),
        ("\n  batch: lines", "", "webhook.batch must be array, single or ndjson", 5),
        ("\n  body: {a: email}\n  body: {a: city}", "", "webhook.body is written twice", 6),
        ("{}\nwebhook: {}", "", "webhook is written twice", 5),
        ("{}", "destination: segment\n", "the header has no track, identify, group", 4),
        ("{}", "destination: webhok\n", 'Did you mean "webhook"', 4),
        ("{}", "destination: [webhook, eu]\n", "the header has no track", 4),
        ("{}", "destinations: {eu: {drop: [email]}}\n", 'not sent to "eu"', 4),
        ("{}", "destinations: {webhook: {drop: [emial]}}\n", 'has no column "emial"', 4),
        ("{body: {a: email}}", "destinations: {webhook: {drop: [b]}}\n", 'sent as "b"', 4),
        ("{body: {a: email}}", "destinations: {webhook: {track: {entered: A}}}\n", "no event", 4),
        (
            "{body: {a: email, b: city}}",
            "destinations: {webhook: {rename: {a: b}}}\n",
            'two values would be sent as "b"',
            4,
        ),
        (
            "{body: {a: email, b: city}}",
            "destinations: {webhook: {drop: [a], rename: {a: c}}}\n",
            '"a" is dropped and renamed',
            4,
        ),
    ],
)
def test_a_wrong_header_is_refused_with_its_line(
    block: str, more: str, message: str, line: int, tmp_path: Path
) -> None:
    shop = WebhookShop(tmp_path, URL)
    shop.header(block, more=more)
    (error,) = errors_of(shop)
    assert re.search(message, error[0]), error
    assert line == error[1]


def test_a_header_may_have_segment_and_webhook(tmp_path: Path) -> None:
    shop = WebhookShop(tmp_path, URL)
    shop.environ["DESTINATION__CRM__TYPE"] = "webhook"
    shop.header(more="user_id: id\ntrack: {properties: {score: score}}\n")
    (model,) = project_models(shop.project).audiences()
    assert model.audience is not None
    assert ["people", "people__webhook"] == [sync.ledger_key for sync in model.audience.syncs()]
    assert ["segment", "webhook"] == [sync.destination_type for sync in model.audience.syncs()]
    shop.header(
        more="user_id: id\ntrack: {properties: {score: score}}\ndestination: [crm, webhook]\n"
    )
    (model,) = project_models(shop.project).audiences()
    assert model.audience is not None
    assert ["webhook", "webhook"] == [sync.destination_type for sync in model.audience.syncs()]
    assert all(sync.track is None for sync in model.audience.syncs())
