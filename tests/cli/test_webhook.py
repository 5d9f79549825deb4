"""`tidegate webhook`: webhooks and their deliveries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.cli.calls import Tidegate
from tests.receiver import Answer, receiver
from tests.waiting import until


def test_only_the_webhooks_secret_is_on_standard_output(tidegate: Tidegate) -> None:
    assert "No webhooks" in tidegate.run("webhook", "list").err
    # URL is the webhook's address, not the server's.
    result = tidegate.run("webhook", "create", "chat", "https://chat.example.com/x")
    assert (result.status, result.out[:4], result.out.count("\n")) == (0, "tgw_", 1)
    assert "it is not shown again" in result.err
    secret = result.out.strip()
    for arguments in (("webhook", "show", "chat"), ("webhook", "list"), ("audit",)):
        assert secret not in tidegate.ok(*arguments) + tidegate.ok(*arguments, "-o", "json")
    assert tidegate.json("webhook", "show", "chat")["url"] == "https://chat.example.com/x"


def test_a_webhook_is_edited_rotated_and_deleted(tidegate: Tidegate) -> None:
    made = tidegate.json("webhook", "create", "chat", "https://chat.example.com/x")
    arguments = ("webhook", "edit", "chat", "--new-url", "https://chat.example.com/y", "--disable")
    assert "revision 2" in tidegate.ok(*arguments)
    assert "unchanged" in tidegate.ok(*arguments)
    shown = tidegate.json("webhook", "show", "chat")
    assert (shown["url"], shown["enabled"]) == ("https://chat.example.com/y", False)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    later = ("--at", f"{tomorrow}T09:00", "--reason", "spring")
    assert "nothing changed yet" in tidegate.ok("webhook", "edit", "chat", "--enable", *later)
    assert "Nothing to change" in tidegate.refused("webhook", "edit", "chat", status=2)
    assert "confirm with --yes" in tidegate.refused("webhook", "rotate", "chat", status=2)
    assert tidegate.ok("webhook", "rotate", "chat", "--yes").strip() != made["secret"]
    assert "old secret until" in tidegate.ok("webhook", "show", "chat")
    assert "/url" in tidegate.refused("webhook", "create", "other", "not-an-address")
    assert "confirm with --yes" in tidegate.refused("webhook", "delete", "chat", status=2)
    tidegate.ok("webhook", "delete", "chat", "--yes")
    assert tidegate.json("webhook", "list") == []


def test_a_test_message_is_delivered_or_fails(tidegate: Tidegate) -> None:
    with receiver(Answer(204)) as ops:
        secret = tidegate.json("webhook", "create", "ops", ops.url)["secret"]
        assert "No messages for webhook ops yet" in tidegate.run("webhook", "deliveries", "ops").err
        assert "accepted the message" in tidegate.ok("webhook", "test", "ops", "--reason", "hello")
        (received,) = ops.received
        assert received.is_signed_with(secret)
        assert received.json["reason"] == "hello"
        assert "delivered" in tidegate.ok("webhook", "deliveries", "ops")

        ops.behave(Answer(500))

        def answered() -> bool:
            failed = tidegate.run("webhook", "test", "ops", "--wait", "1s")
            assert (failed.status, failed.out) == (5, "")
            return "answered 500" in failed.err

        until(answered, "a message that is sent within its time")
        waiting = tidegate.json("webhook", "deliveries", "ops")[-1]
        assert (waiting["state"], waiting["event"]) == ("waiting", "test")
        assert waiting["next_attempt_at"] is not None
