"""Entries of the audit log in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tidegate_server.dashboard.reason_words import reason_words

SENTENCES: Final[Mapping[str, tuple[str, str]]] = {
    "flag.kill": ("kill", "killed {target}"),
    "flag.restore": ("restore", "restored {target}"),
    "tag.kill": ("kill", "killed every flag with the tag {target}"),
    "tag.restore": ("restore", "restored every flag that was killed with the tag {target}"),
    "flag.create": ("plus", "made the flag {target}"),
    "flag.edit": ("edit", "changed the flag {target}"),
    "flag.delete": ("x", "deleted the flag {target}"),
    "flag.archive": ("x", "archived the flag {target}"),
    "flag.unarchive": ("restore", "unarchived the flag {target}"),
    "targeting.edit": ("edit", "changed who gets {target}"),
    "release.start": ("release", "started the release of {flag}"),
    "release.begin": ("release", "began the release of {flag}"),
    "release.advance": ("advance", "opened the next stage of {flag}"),
    "release.rollback": ("back", "rolled {flag} back"),
    "release.complete": ("check", "completed the release of {flag}"),
    "release.pause": ("pause", "paused the release of {flag}"),
    "release.resume": ("release", "resumed the release of {flag}"),
    "release.approve": ("check", "approved the release of {flag}"),
    "release.hold": ("hand", "holds the release of {flag}"),
    "release.retreat": ("back", "took the release of {flag} back one stage"),
    "release.retry": ("replay", "started the next attempt of {flag}"),
    "release.ask": ("ask", "asked for approval of the release of {flag}"),
    "release.cool_down": ("clock", "closed the release of {flag} for now"),
    "flag.promote": ("advance", "promoted {target}"),
    "segment.upload": ("people", "uploaded keys to the segment {target}"),
    "configuration.apply": ("edit", "applied the configuration in files"),
    "person.create": ("person", "added {who}"),
    "person.edit": ("person", "changed {who}"),
    "person.delete": ("x", "deleted {who}"),
    "person.invite": ("link", "made an invitation for {who}"),
    "person.approve_device": ("check", "approved the sign-in of a command line"),
    "person.refuse_device": ("x", "refused the sign-in of a command line"),
    "person.unlink": ("x", "took an identity away from {who}"),
    "session.revoke": ("x", "ended sessions"),
    "person.sign_in": ("person", "signed in"),
    "person.sign_out": ("person", "signed out"),
    "person.sign_in_slowed": ("warn", "tried to sign in as {target} too often"),
    "person.accept_invitation": ("person", "accepted an invitation"),
    "person.make_sign_in_link": ("person", "made a link to sign in for {who}"),
    "person.use_sign_in_link": ("person", "signed in with a link"),
    "person.join": ("person", "joined with an identity provider"),
    "person.link": ("person", "linked an account at an identity provider"),
    "person.update_groups": ("people", "changed groups at an identity provider"),
    "identity_provider.set_secret": ("key", "changed the secret of the identity provider {target}"),
    "identity_provider.delete_secret": (
        "key",
        "deleted the secret of the identity provider {target}",
    ),
    "person.change_password": ("key", "changed the password"),
    "person.begin_second_factor": ("key", "began to add a second factor"),
    "person.add_second_factor": ("key", "added a second factor"),
    "person.remove_second_factor": ("key", "removed the second factor"),
    "person.reset_second_factor": ("key", "removed the second factor of {who}"),
    "person.new_recovery_codes": ("key", "made new recovery codes"),
    "person.use_recovery_code": ("key", "used a recovery code"),
    "person.use_one_time_code": ("key", "used a one-time code"),
}
"""The icon and the sentence of each action; others are read from their name."""

PAST: Final[Mapping[str, str]] = {
    "create": "made",
    "edit": "changed",
    "rotate": "gave another secret to",
    "rotate_key": "gave another context key to",
    "copy": "copied",
    "hold": "held",
    "run": "made",
    "withdraw": "withdrew",
    "apply": "applied",
    "fail": "could not make",
    "comment": "commented on",
}
"""Verbs whose past tense does not end with -d or -ed, or that need other words."""


def past(verb: str) -> str:
    """Return the past tense of an action's verb: ``delete`` becomes ``deleted``."""
    if verb in PAST:
        return PAST[verb]
    words = verb.replace("_", " ")
    return f"{words}d" if words.endswith("e") else f"{words}ed"


ICONS: Final[Mapping[str, str]] = {
    "token": "key",
    "person": "person",
    "session": "person",
    "segment": "people",
    "policy": "policy",
    "webhook": "link",
    "hook": "link",
}


POLICY: Final = "The policy"
ARMS: Final = {"treatment": "the treatment", "control": "control"}
"""The log does not keep the variants of a release, so its arms have no other names."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """An entry in words.

    Attributes:
        kind: the class of its line.
        id: its position in the log; empty: the API did not say it.
    """

    kind: str
    icon: str
    who: str
    did: str
    where: str
    reason: str
    at: str
    id: str
    release: str | None

    @property
    def ending(self) -> str:
        """How its sentence ends: with what the person said, or with why the policy did it."""
        if not self.reason:
            return "."
        if self.who == POLICY:
            return f". {reason_words(self.reason, ARMS)}"
        return f": \u201c{self.reason}\u201d"


def called(noun: str, target: str, details: Mapping[str, Any]) -> str:
    """Return how people call a thing: a token by its name, since nobody knows its id."""
    name = details.get("name")
    return f"“{name}”" if noun == "token" and name else target


def audit_line(entry: Mapping[str, Any]) -> AuditLine:
    """Return an entry in words."""
    action, target = entry["action"], entry["target"]
    details = entry["details"]
    noun, _, verb = action.partition(".")
    known = SENTENCES.get(action)
    if known is not None:
        icon, sentence = known
        flag, who = details.get("flag", target), details.get("email", target)
        did = sentence.format(target=target, flag=flag, who=who)
        if action == "flag.kill" and details.get("tag"):
            did += f", with every flag that has the tag {details['tag']}"
    else:
        icon = ICONS.get(noun, "log")
        words = noun.replace("_", " ")
        did = f"{past(verb)} the {words} {called(noun, target, details)}"
    policy = entry["actor"] == "policy"
    bad = action in ("flag.kill", "tag.kill", "release.rollback", "release.retreat")
    return AuditLine(
        "bad" if bad else "move" if policy else "person",
        icon,
        POLICY if policy else entry["actor"],
        did,
        "" if noun == "environment" else entry["environment"],
        entry["reason"],
        entry["at"],
        entry.get("id", ""),
        target if noun == "release" else None,
    )
