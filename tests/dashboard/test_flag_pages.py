"""People who look after flags, at a real browser: who gets what, who would, and who changed it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import tidegate
from playwright.sync_api import Browser, expect

from tests.dashboard.filled_server import FilledServer, filled_server
from tests.dashboard.visits import DESK, PHONE, Visit, visit
from tests.people import PASSWORD, invited
from tests.waiting import until

PLACE = "/p/garden/e/production"
API = "/api/v1/projects/garden"
USERS = 12
REASON = {"Tidegate-Reason": "a%20test"}


@pytest.fixture(scope="module")
def server() -> Iterator[FilledServer]:
    with filled_server() as empty:
        make_project(empty)
        use_flags(empty)
        yield empty


@pytest.fixture
def at(chromium: Browser, server: FilledServer) -> Iterator[Visit]:
    with visit(chromium, server.port, DESK) as opened:
        opened.sign_in("admin@garden.example")
        yield opened


def make_project(server: FilledServer) -> None:
    """Make a project with one environment that is not protected, a flag, and an admin."""
    server.admin.post_ok("/api/v1/projects", {"key": "garden"})
    server.admin.post_ok(f"{API}/environments", {"key": "production"})
    make_flag(server, "checkout")
    link = invited(server.admin, "admin@garden.example", {"role": "admin", "project": "garden"})
    accepted = server.app.test_client().post(
        "/api/v1/invitations/accept",
        json={"invitation": link, "name": "Ada", "password": PASSWORD},
    )
    assert accepted.status_code == 200, accepted.text


def use_flags(server: FilledServer) -> None:
    """Let an application ask for flags for some users, until the server knows all of them."""
    token = server.admin.post_ok(
        "/api/v1/tokens",
        {"name": "users", "role": "sdk", "project": "garden", "environment": "production"},
    )["secret"]
    client = tidegate.Client(server.origin, token, application="shop-worker")
    assert client.wait_until_ready(60)

    def everyone_is_known() -> bool:
        for number in range(USERS):
            with client.operation(tidegate.Context(f"user-{number}")):
                client.boolean("checkout", False)
        client.flush()
        seen = server.admin.get(f"{API}/environments/production/seen-users").json
        return seen is not None and seen["total"] >= USERS

    until(everyone_is_known, "all users to be seen")
    client.close()


def make_flag(server: FilledServer, key: str) -> None:
    """Make a flag that is on, and serves off to everyone."""
    made = server.admin.post(f"{API}/flags", {"key": key, "type": "boolean"}, headers=REASON)
    assert made.status_code == 201, made.text
    put(server, f"environments/production/flags/{key}", enabled=True, default={"variant": "off"})


def put(server: FilledServer, path: str, **fields: object) -> None:
    """Change some fields of a document, as somebody else would."""
    before = server.admin.get(f"{API}/{path}")
    assert before.json is not None
    served = ("killed", "release", "receipt", "ladder", "warnings", "revision", "updated_at")
    document = {name: value for name, value in before.json.items() if name not in served}
    answer = server.admin.put(f"{API}/{path}", {**document, **fields}, match=before.headers["ETag"])
    assert answer.status_code == 200, answer.text


def served(server: FilledServer, flag: str) -> dict[str, object]:
    found = server.admin.get(f"{API}/environments/production/flags/{flag}").json
    assert found is not None
    return dict(found)


def test_who_changes_sides_is_seen_while_typing(at: Visit, server: FilledServer) -> None:
    make_flag(server, "sides")
    page = at.page
    at.go(f"{PLACE}/flags/sides/rules")
    page.get_by_label("Everyone else: percent for off").fill("")
    page.get_by_label("Everyone else: percent for on").fill("100")
    everyone = page.get_by_text("people seen in the last hour change sides.")
    expect(everyone).to_be_visible()
    expect(page.get_by_text("go from off to on.")).to_be_visible()
    expect(page.locator(".sides .row")).to_have_count(2)
    page.get_by_label("Everyone else: percent for on").fill("fast")
    expect(everyone).to_be_hidden()
    assert served(server, "sides")["default"] == {"variant": "off"}


def test_who_changes_sides_is_asked_with_a_button_without_a_script(
    chromium: Browser, server: FilledServer
) -> None:
    make_flag(server, "by-button")
    with visit(chromium, server.port, PHONE, java_script_enabled=False) as at:
        at.sign_in("admin@garden.example")
        at.go(f"{PLACE}/flags/by-button/rules")
        page = at.page
        page.get_by_label("Everyone else: percent for off").fill("")
        page.get_by_label("Everyone else: percent for on").fill("100")
        page.get_by_role("button", name="Rule", exact=True).click()
        page.get_by_role("button", name="Rule", exact=True).click()
        page.get_by_role("button", name="Up", exact=True).nth(1).click()
        expect(page.get_by_role("button", name="Down", exact=True).first).to_be_focused()
        expect(page.get_by_label("Name", exact=True).first).to_have_value("rule-2")
        for _ in range(2):
            page.get_by_role("button", name="Remove", exact=True).first.click()
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_text("people seen in the last hour change sides.")).to_be_visible()
        page.get_by_label("Why").fill("the team is ready")
        page.get_by_role("button", name="Save", exact=True).last.click()
        expect(page.get_by_text("Everyone gets on.")).to_be_visible()


def test_rules_are_moved_by_keys_by_buttons_and_by_dragging(
    at: Visit, server: FilledServer
) -> None:
    make_flag(server, "order")
    rules = [
        {
            "id": each,
            "when": {"attribute": "team", "operator": "equals", "value": each},
            "serve": {"variant": "on"},
        }
        for each in "abc"
    ]
    put(server, "environments/production/flags/order", rules=rules)
    page = at.page
    at.go(f"{PLACE}/flags/order/rules")
    told, names = page.locator("[data-moved]"), page.get_by_label("Name", exact=True)

    def order() -> str:
        return "".join(each.input_value() for each in names.all())

    names.nth(2).focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(told).to_have_text("c is now rule 2 of 3.")
    expect(names.nth(1)).to_be_focused()
    assert order() == "acb"
    page.get_by_role("button", name="Down", exact=True).first.click()
    expect(told).to_have_text("a is now rule 2 of 3.")
    expect(page.get_by_role("button", name="Down", exact=True).nth(1)).to_be_focused()
    assert order() == "cab"
    page.get_by_role("button", name="Move rule 3").drag_to(page.locator("[data-rule='0'] h2"))
    expect(told).to_have_text("b is now rule 1 of 3.")
    assert order() == "bca"
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("saved whom it serves what")).to_be_visible()
    saved = served(server, "order")["rules"]
    assert isinstance(saved, list)
    assert [rule["id"] for rule in saved] == ["b", "c", "a"]


def test_two_people_who_touch_different_parts_save_both(at: Visit, server: FilledServer) -> None:
    make_flag(server, "both")
    page = at.page
    at.go(f"{PLACE}/flags/both/rules")
    page.get_by_role("button", name="Flag", exact=True).click()
    page.get_by_label("Flag", exact=True).fill("checkout")
    page.get_by_label("One of these variants").fill("on, off")
    put(server, "environments/production/flags/both", default={"variant": "on"})
    page.get_by_label("Why").fill("needs the new checkout")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("changed it while you edited")).to_be_visible()
    expect(page.get_by_text("default variant")).to_be_visible()
    assert page.get_by_label("Why").input_value() == "needs the new checkout"
    page.get_by_role("button", name="Save both").click()
    expect(page.get_by_text("saved whom it serves what")).to_be_visible()
    saved = served(server, "both")
    assert saved["default"] == {"variant": "on"}
    assert saved["prerequisites"] == [{"flag": "checkout", "variants": ["on", "off"]}]


def test_of_two_changes_of_one_part_the_reader_chooses(at: Visit, server: FilledServer) -> None:
    make_flag(server, "one-part")
    page = at.page
    at.go(f"{PLACE}/flags/one-part/rules")
    page.get_by_label("Everyone else: percent for off").fill("50")
    page.get_by_label("Everyone else: percent for on").fill("50")
    put(server, "environments/production/flags/one-part", default={"variant": "on"})
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("Both touch the same part")).to_be_visible()
    expect(page.get_by_role("button", name="Save both")).to_have_count(0)
    page.get_by_role("button", name="Save mine over it").click()
    expect(page.get_by_text("saved whom it serves what")).to_be_visible()
    assert "split" in str(served(server, "one-part")["default"])


def test_a_flag_is_edited_and_an_earlier_version_comes_back(
    at: Visit, server: FilledServer
) -> None:
    page = at.page
    at.go(f"{PLACE}/flags/new")
    page.locator("#key").fill("layout")
    page.get_by_label("It serves").select_option("object")
    page.get_by_label("Variants").fill('plain = {"columns": 1}\nwide = {"columns": 9}')
    page.get_by_label("Why").fill("a new page")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="layout")).to_be_visible()
    at.go(f"{PLACE}/flags/layout/edit")
    page.get_by_label("Description").fill("Columns, **not** rows <b>x</b> [x](javascript:alert(1))")
    page.get_by_label("Tags").fill("pages, shop")
    page.get_by_label("Value of variant 1").fill('{\n  "columns": 2,\n}')
    page.get_by_label("Why").fill("two columns")
    save = page.get_by_role("button", name="Save", exact=True).last
    save.click()
    expect(page.get_by_text("Line 3, '}', is not JSON")).to_be_visible()
    assert page.get_by_label("Tags").input_value() == "pages, shop"
    page.get_by_label("Value of variant 1").fill('{\n  "columns": 2\n}')
    save.click()
    expect(page.get_by_text("layout is saved, in every environment.")).to_be_visible()
    expect(page.locator(".sub strong")).to_have_text("not")
    expect(page.locator(".sub")).to_contain_text("<b>x</b>")
    assert page.locator(".sub a[href^=javascript]").count() == 0

    page.get_by_role("link", name="All versions").click()
    page.get_by_role("link", name="revision 1").last.click()
    expect(page.get_by_text("It is saved as a new version.")).to_be_visible()
    page.get_by_label("Why").fill("one column is better")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.get_by_text("layout is what it was at revision 1.")).to_be_visible()
    back = server.admin.get(f"{API}/flags/layout").json
    assert back is not None
    assert back["variants"][0] == {"key": "plain", "value": {"columns": 1}}


def test_the_playground_explains_what_somebody_gets(at: Visit, server: FilledServer) -> None:
    make_flag(server, "trial")
    rule = {
        "id": "german",
        "when": {"attribute": "country", "operator": "equals", "value": "DE"},
        "serve": {"variant": "on"},
    }
    put(server, "environments/production/flags/trial", rules=[rule])
    page = at.page
    at.go(f"{PLACE}/flags/trial")
    page.get_by_label("Targeting key").fill("visitor-1")
    page.get_by_label("Attributes").fill("country: DE")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("heading", name="Gets on")).to_be_visible()
    assert "visitor-1" not in page.url
    page.get_by_label("Attributes").fill("country")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("Line 1: write the name, a colon and the value")).to_be_visible()
    page.get_by_label("Attributes").fill("country: FR")
    page.get_by_label("Keep this context as").fill("french-visitor")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_role("heading", name="Gets off")).to_be_visible()
    page.get_by_label("Attributes").fill("")
    page.get_by_role("button", name="french-visitor", exact=True).click()
    expect(page.get_by_label("Attributes")).to_have_value("country: FR")
    page.get_by_role("button", name="Forget french-visitor").click()
    expect(page.get_by_text("The context french-visitor is forgotten.")).to_be_visible()


def test_a_flag_that_is_done_leaves_in_three_steps(at: Visit, server: FilledServer) -> None:
    server.admin.post(f"{API}/flags", {"key": "done", "type": "boolean"}, headers=REASON)
    page = at.page
    at.go(f"{PLACE}/flags/done/clean-up")
    expect(page.get_by_text("tidegate code-refs remove done | git apply")).to_be_visible()
    page.get_by_label("Why").first.fill("out of the code")
    page.get_by_role("button", name="Archive it").click()
    expect(page.get_by_text("done is archived")).to_be_visible()
    page.get_by_role("link", name="Bring it back or delete it").click()
    page.get_by_label("Type done to delete it").fill("don")
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("Type done to delete it for good.")).to_be_visible()
    page.get_by_label("Why").last.fill("out of the code for a month")
    page.get_by_label("Type done to delete it").fill("done")
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("done is deleted.")).to_be_visible()
    assert server.admin.get(f"{API}/flags/done").status_code == 404


def test_a_flag_says_what_it_needs_and_what_needs_it(at: Visit, server: FilledServer) -> None:
    make_flag(server, "base")
    make_flag(server, "above")
    needs = [{"flag": "base", "variants": ["on"]}]
    put(server, "environments/production/flags/above", prerequisites=needs)
    page = at.page
    at.go(f"{PLACE}/flags/above")
    expect(page.get_by_text("It needs base to serve on.")).to_be_visible()
    expect(page.locator(".rung.holds")).to_contain_text("Needs")
    page.get_by_role("link", name="base", exact=True).click()
    expect(page.get_by_text("above needs this flag to serve on.")).to_be_visible()


def test_a_segment_is_made_previewed_filled_from_a_file_and_deleted(
    at: Visit, server: FilledServer
) -> None:
    page = at.page
    at.go("/p/garden/segments/new")
    page.get_by_label("Key", exact=True).fill("gardeners")
    page.get_by_role("button", name="Condition", exact=True).click()
    page.get_by_label("Attribute").fill("team")
    page.get_by_label("Value").fill("garden")
    page.get_by_label("Why").fill("who digs")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("Everyone for whom team is garden.")).to_be_visible()

    make_flag(server, "spade")
    rule = {"id": "dig", "when": {"segment": "gardeners"}, "serve": {"variant": "on"}}
    put(server, "environments/production/flags/spade", rules=[rule])
    at.go("/p/garden/segments/gardeners/edit")
    page.get_by_label("Always in it").fill("user-1\nuser-2")
    expect(page.get_by_text(f"2 of {USERS} people seen in the last hour")).to_be_visible()
    expect(page.get_by_text("spade: 2 go from off to on.")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("rule dig of flag spade")).to_be_visible()
    expect(page.get_by_text("It can be deleted when nothing uses it")).to_be_visible()

    page.get_by_role("link", name="Upload keys").click()
    keys = {"name": "keys.csv", "mimeType": "text/csv", "buffer": b"key,city\nuser-3,Bonn\n"}
    page.get_by_label("File").set_input_files(keys)  # type: ignore[arg-type]
    page.get_by_label("It has").select_option("text/csv")
    page.get_by_role("button", name="Only say what would change").click()
    expect(page.get_by_text("1 would come, 0 would leave")).to_be_visible()
    page.get_by_label("File").set_input_files(keys)  # type: ignore[arg-type]
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("1 whose keys were uploaded")).to_be_visible()
    page.get_by_label("Targeting keys").fill("user-3, user-9")
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_text("user-3 is always in it")).to_be_visible()
    expect(page.get_by_text("user-9 is in no list")).to_be_visible()

    put(server, "environments/production/flags/spade", rules=[])
    at.go("/p/garden/segments/gardeners")
    page.get_by_label("Type gardeners to delete it").fill("gardeners")
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("gardeners is deleted.")).to_be_visible()


def test_flags_that_applications_miss_are_made_from_the_list(
    at: Visit, server: FilledServer
) -> None:
    token = server.admin.post_ok(
        "/api/v1/tokens",
        {"name": "miss", "role": "sdk", "project": "garden", "environment": "production"},
    )["secret"]
    client = tidegate.Client(server.origin, token, application="shop-web")
    assert client.wait_until_ready(60)
    client.boolean("not-there", False)
    client.flush()
    unknown = f"{API}/environments/production/unknown-flags"
    until(lambda: "not-there" in server.admin.get(unknown).text, "the flag to be missed")
    client.close()
    page = at.page
    at.go(f"{PLACE}/flags")
    page.locator(".entry", has_text="not-there").get_by_role("link", name="Make it").click()
    expect(page.locator("#key")).to_have_value("not-there")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="not-there")).to_be_visible()
    at.go(f"{PLACE}/flags?q=not-there&sort=-updated")
    expect(page.locator(".flags tbody tr")).to_have_count(1)


def test_the_form_and_the_yaml_of_a_policy_stay_in_step(at: Visit, server: FilledServer) -> None:
    page = at.page
    at.go("/p/garden/policies/new?from=standard")
    source = page.get_by_label("All of it, as YAML")
    page.get_by_label("Key", exact=True).fill("slowly")
    page.get_by_label("Stage 1: percent").fill("2")
    expect(source).to_have_value(re.compile(r"key: slowly(.|\n)*percentage: 2\n"))
    source.fill(source.input_value().replace("percentage: 2\n", "percentage: 3\n"))
    expect(page.get_by_label("Stage 1: percent")).to_have_value("3")
    page.get_by_label("Stage 1: percent").fill("300")
    expect(page.locator("[data-findings]")).to_contain_text("percentage: 300")
    expect(page.locator("#stages-0-percentage-error")).to_be_visible()
    expect(page.get_by_label("Stage 1: percent")).to_be_focused()
    expect(page.get_by_label("Stage 1: percent")).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Check", exact=True).click()
    added = page.get_by_label("Check 2: what is measured")
    expect(added).to_be_focused()
    added.select_option(label="error rate")
    page.get_by_label("Check 2: compared with").select_option("absolute")
    expect(page.locator("#checks-1-threshold-error")).to_contain_text("needs threshold")
    page.get_by_label("Check 2: limit").fill("0.02")
    expect(source).to_have_value(re.compile(r"threshold: 0.02\n"))
    expect(page.locator("#checks-1-threshold-error")).to_be_hidden()
    page.get_by_role("button", name="Freeze", exact=True).click()
    page.get_by_label("Freeze 1: from").fill("2026-12-20")
    page.get_by_label("Freeze 1: to").fill("2027-01-02")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.locator("[data-findings] .bad").first).to_contain_text("Line ")
    assert page.get_by_label("Key", exact=True).input_value() == "slowly"
    page.get_by_label("Stage 1: percent").fill("3")
    page.get_by_label("Why").fill("for payments")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("no release has run under it")).to_be_visible()
    saved = server.admin.get(f"{API}/policies/slowly").json
    assert saved is not None
    assert saved["stages"][0]["percentage"] == 3
    assert saved["checks"][1]["threshold"] == 0.02
    assert saved["windows"]["freeze"][0]["from"] == "2026-12-20"


def test_a_policy_is_edited_without_a_script(chromium: Browser, server: FilledServer) -> None:
    with visit(chromium, server.port, PHONE, java_script_enabled=False) as at:
        at.sign_in("admin@garden.example")
        page = at.page
        at.go("/p/garden/policies/new?from=standard")
        page.get_by_label("Key", exact=True).fill("by-hand")
        page.get_by_role("button", name="Message", exact=True).click()
        page.get_by_role("button", name="Remove message 1").click()
        page.get_by_role("button", name="Bring both in step").click()
        source = page.get_by_label("All of it, as YAML")
        assert "key: by-hand" in source.input_value()
        source.fill(source.input_value() + "nonsense: [")
        page.get_by_role("button", name="Save", exact=True).last.click()
        expect(page.locator("[data-findings] .bad")).to_be_visible()
        assert source.input_value().endswith("nonsense: [")
        source.fill(source.input_value().removesuffix("nonsense: ["))
        page.get_by_role("button", name="Save", exact=True).last.click()
        expect(page.get_by_role("heading", name="by-hand", exact=True)).to_be_visible()


def test_what_was_typed_survives_the_end_of_a_session(at: Visit, server: FilledServer) -> None:
    make_flag(server, "late")
    page = at.page
    at.go(f"{PLACE}/flags/late/edit")
    page.get_by_label("Description").fill("Written for an hour <script>hacked=1</script>")
    page.context.clear_cookies()
    page.get_by_label("Why").fill("it took long")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    page.get_by_label("Email").fill("admin@garden.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Back to what you typed").click()
    expect(page.get_by_text("Nothing was done yet")).to_be_visible()
    expect(page.get_by_label("Description")).to_have_value(
        "Written for an hour <script>hacked=1</script>"
    )
    assert server.admin.get(f"{API}/flags/late").json["description"] == ""  # type: ignore[index]
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("late is saved, in every environment.")).to_be_visible()
    assert page.evaluate("typeof hacked") == "undefined"


def test_the_palette_knows_what_may_be_done_here(at: Visit, server: FilledServer) -> None:
    make_flag(server, "palette")
    page = at.page
    at.go(f"{PLACE}/flags/palette")
    page.keyboard.press("Control+k")
    here = page.locator("#palette")
    expect(here.get_by_role("link", name="Kill palette…")).to_be_visible()
    page.keyboard.type("versions", delay=10)
    expect(here.get_by_role("link", name="Kill palette…")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Versions of palette")).to_be_visible()
    at.go(f"{PLACE}/search?q=new+flag")
    page.get_by_role("link", name="New flag…").click()
    expect(page.get_by_role("heading", name="New flag")).to_be_visible()
