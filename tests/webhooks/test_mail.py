"""Mail leaves through a real mail server, encrypted, and is tried again as messages to URLs are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tidegate_server.domain.webhooks import Format
from tidegate_server.outbound.mail_server import MailServer, MailTls
from tidegate_server.store.outbox import DeliveryState
from tidegate_server.webhooks.mail import mail_message
from tidegate_server.webhooks.notices import event_notice
from tidegate_server.webhooks.sender import MessageSettings, WebhookSender

from tests.mail_receiver import mail_receiver
from tests.policy_job.deployment import Deployment
from tests.receiver import LOOPBACK
from tests.waiting import until
from tests.webhooks.test_chat_bodies import INCIDENT, PAGE, PUBLIC, killed
from tests.webhooks.test_sender import QUICK, SECRET_KEY, WebhookProject

FROM = "Tidegate <tidegate@example.com>"
ADDRESSES = "mailto:oncall@example.com, dev@example.com"


def project(deployment: Deployment, server: MailServer | None) -> WebhookProject:
    shop = WebhookProject(deployment)
    messages = MessageSettings(PUBLIC, server)
    shop.sender = WebhookSender(shop.store, SECRET_KEY, QUICK, LOOPBACK, messages)
    shop.webhook("mail", ADDRESSES, format=Format.EMAIL)
    shop.queue("mail")
    return shop


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
            *("-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


def test_each_address_gets_the_message(deployment: Deployment) -> None:
    with mail_receiver() as mail:
        shop = project(deployment, MailServer("127.0.0.1", mail.port, FROM, MailTls.OFF))
        delivery = shop.until_done("mail")
    assert delivery.record.state is DeliveryState.DELIVERED
    [(recipients, message)] = mail.received
    assert recipients == ["oncall@example.com", "dev@example.com"]
    assert message["From"] == FROM
    assert message["Subject"] == "[Tidegate] Tidegate can reach this channel (a test by dana)."
    assert message["Message-ID"] == f"<{delivery.id}@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"


def test_what_the_server_does_not_take_is_sent_again_with_the_same_id(
    deployment: Deployment,
) -> None:
    with mail_receiver() as mail:
        mail.answers = ["451 try again later", "550 not yet"]
        shop = project(deployment, MailServer("127.0.0.1", mail.port, FROM, MailTls.OFF))
        delivery = shop.until_done("mail")
    assert delivery.record.attempts == 3
    [(_, message)] = mail.received
    assert delivery.id in message["Message-ID"]


def test_a_password_goes_only_over_tls(
    deployment: Deployment, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with mail_receiver(certificate, asks=True) as mail:
        server = MailServer(
            "127.0.0.1", mail.port, FROM, username="tidegate", password="the right password"
        )
        shop = project(deployment, server)
        assert shop.until_done("mail").record.state is DeliveryState.DELIVERED
    assert mail.logins == [("tidegate", "the right password")]
    assert len(mail.received) == 1
    assert "the right password" not in repr(server)


def test_a_certificate_that_is_not_trusted_stops_the_mail(
    deployment: Deployment, certificate: Path
) -> None:
    with mail_receiver(certificate) as mail, capture_logs() as logs:
        shop = project(deployment, MailServer("127.0.0.1", mail.port, FROM))
        shop.until(lambda: shop.messages("mail")[0].record.attempts > 0)
        last = shop.messages("mail")[0].record.last
        until(lambda: "webhook_failed" in [each["event"] for each in logs], "a line in the log")
    assert last is not None
    assert (last.status, last.problem) == (None, "no answer from the mail server in 5 s")
    assert mail.received == []
    assert any("certificate" in str(each.get("problem")) for each in logs)


def test_a_server_without_starttls_gets_nothing(deployment: Deployment) -> None:
    with mail_receiver() as mail:
        shop = project(deployment, MailServer("127.0.0.1", mail.port, FROM))
        shop.until(lambda: shop.messages("mail")[0].record.attempts > 0)
        last = shop.messages("mail")[0].record.last
    assert last is not None
    assert last.problem == "the mail server does not offer what its settings ask for"
    assert mail.received == []


def test_without_a_mail_server_the_delivery_says_so(deployment: Deployment) -> None:
    shop = project(deployment, None)
    shop.until(lambda: shop.messages("mail")[0].record.attempts > 0)
    last = shop.messages("mail")[0].record.last
    assert last is not None
    assert last.problem == "no mail server is configured"


def test_mail_has_the_same_words_as_text_and_as_html() -> None:
    event = killed("<b>bold</b> & more")
    notice = event_notice("shop", event, PUBLIC)
    message = mail_message(notice, "message-1", FROM, ["a@example.com"], event.at_ms)
    text = message.get_body(("plain",))
    html = message.get_body(("html",))
    assert text is not None
    assert html is not None
    for part in (PAGE, INCIDENT, "customers" if "customers" in notice.reason else "bold"):
        assert part in text.get_content()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in html.get_content()
    assert INCIDENT.replace("&", "&amp;") in html.get_content()
    assert message["References"] == "<rel_1@example.com>"
