"""`tidegate webhook`: whom policies tell what happened, and whom they ask."""

from __future__ import annotations

from tests.cli.calls import Tidegate
from tests.receiver import Answer, receiver


def test_a_webhooks_secret_is_alone_on_standard_output(tidegate: Tidegate) -> None:
    assert "No webhooks" in tidegate.run("webhook", "list").err
    # The address is the webhook's: the command still goes to the server.
    said = tidegate.run("webhook", "create", "chat", "https://chat.example.com/x")
    assert (said.status, said.out[:4], said.out.count("\n")) == (0, "tgw_", 1)
    assert "shown this once" in said.err
    secret = said.out.strip()
    for words in (("webhook", "show", "chat"), ("webhook", "list"), ("audit",)):
        assert secret not in tidegate.ok(*words) + tidegate.ok(*words, "-o", "json")
    assert tidegate.json("webhook", "show", "chat")["url"] == "https://chat.example.com/x"


def test_a_webhook_is_changed_and_deleted(tidegate: Tidegate) -> None:
    made = tidegate.json("webhook", "create", "chat", "https://chat.example.com/x")
    words = ("webhook", "edit", "chat", "--at", "https://chat.example.com/y", "--disable")
    assert "revision 2" in tidegate.ok(*words)
    assert "like that already" in tidegate.ok(*words)
    shown = tidegate.json("webhook", "show", "chat")
    assert (shown["url"], shown["enabled"]) == ("https://chat.example.com/y", False)
    assert "Say what to change" in tidegate.refused("webhook", "edit", "chat", status=2)
    assert "add --yes" in tidegate.refused("webhook", "rotate", "chat", status=2)
    assert tidegate.ok("webhook", "rotate", "chat", "--yes").strip() != made["secret"]
    assert "old secret until" in tidegate.ok("webhook", "show", "chat")
    assert "/url" in tidegate.refused("webhook", "create", "other", "not-an-address")
    assert "add --yes" in tidegate.refused("webhook", "delete", "chat", status=2)
    tidegate.ok("webhook", "delete", "chat", "--yes")
    assert tidegate.json("webhook", "list") == []


def test_a_webhook_is_tried_out(tidegate: Tidegate) -> None:
    with receiver(Answer(204)) as told:
        secret = tidegate.json("webhook", "create", "ops", told.url)["secret"]
        assert "told nothing yet" in tidegate.run("webhook", "deliveries", "ops").err
        assert "took the message" in tidegate.ok("webhook", "test", "ops", "--reason", "hello")
        (received,) = told.received
        assert received.is_signed_with(secret)
        assert received.json["reason"] == "hello"
        assert "delivered" in tidegate.ok("webhook", "deliveries", "ops")

        told.behave(Answer(500))
        failed = tidegate.run("webhook", "test", "ops", "--wait", "2s")
        assert (failed.status, failed.out) == (5, "")
        assert "answered 500" in failed.err
        (waiting, _) = tidegate.json("webhook", "deliveries", "ops")[::-1]
        assert (waiting["state"], waiting["event"]) == ("waiting", "test")
        assert waiting["next_attempt_at"] is not None
