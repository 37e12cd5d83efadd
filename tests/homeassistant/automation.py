"""Runs the automation of docs/homeassistant.md, and the templates of the discovery message on standard
input, on a real Home Assistant core. Prints nothing and exits with 0 if they do what the page says.

Started by the ignored test `automation_of_the_docs_fires_on_events_only`."""

import asyncio
import json
import re
import sys
import tempfile
import time
from pathlib import Path

import yaml
from homeassistant import core, loader
from homeassistant.helpers import area_registry, device_registry, entity, entity_registry
from homeassistant.helpers import category_registry, floor_registry, issue_registry, label_registry
from homeassistant.helpers import template, translation
from homeassistant.setup import async_setup_component

ENTITY = "event.front_door_decision"


def page_automation() -> dict:
    text = (Path(__file__).parents[2] / "docs" / "homeassistant.md").read_text()
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S).group(1))


async def started(folder: str) -> core.HomeAssistant:
    hass = core.HomeAssistant(folder)
    await asyncio.gather(*(
        registry.async_load(hass)
        for registry in (
            area_registry, category_registry, device_registry, entity_registry, floor_registry,
            issue_registry, label_registry,
        )
    ))
    loader.async_setup(hass)
    entity.async_setup(hass)
    translation.async_setup(hass)
    await hass.async_start()
    return hass


async def automation(hass: core.HomeAssistant) -> None:
    told = []
    hass.services.async_register("notify", "notify", told.append)
    assert await async_setup_component(hass, "automation", {"automation": [page_automation()]})
    await hass.async_block_till_done()

    async def becomes(state: str, outcome: str | None = None, age: float = 0) -> int:
        attributes = {}
        if outcome:
            attributes = {"event_type": outcome, "time": time.time() - age}
        hass.states.async_set(ENTITY, state, attributes)
        await hass.async_block_till_done()
        return len(told)

    assert await becomes("unavailable") == 0
    assert await becomes("2026-01-01T00:00:00", "spoof") == 0, "fired at the start"
    assert await becomes("2026-01-01T00:01:00", "granted") == 0, "fired for a resident"
    assert await becomes("2026-01-01T00:02:00", "spoof") == 1, "did not fire"
    assert await becomes("unavailable") == 1
    assert await becomes("2026-01-01T00:02:00", "spoof") == 1, "fired at a reload"
    assert await becomes("2026-01-01T00:03:00", "spoof", age=600) == 1, "fired for a late event"
    assert await becomes("2026-01-01T00:04:00", "spoof") == 2, "did not fire again"


def templates(hass: core.HomeAssistant, components: dict) -> None:
    def rendered(name: str, value: dict, key: str = "value_template") -> str:
        made = template.Template(components[name][key], hass)
        return made.async_render_with_possible_json_value(json.dumps(value), parse_result=False)

    for kind, is_event in (("access", True), ("spoof", True), ("door", False), ("camera", False)):
        event = json.loads(rendered("decision", {"kind": kind, "outcome": "spoof"}))
        assert (event.get("event_type") == "spoof") == is_event, (kind, event)
    door = {"alarm": None, "faults": [], "tamper": False, "open": None}
    assert rendered("forced_open", door) == "OFF"
    assert rendered("forced_open", door | {"alarm": "forced_open"}) == "ON"
    assert rendered("held_open", door | {"alarm": "held_open"}) == "ON"
    assert rendered("fault", door) == "OFF"
    assert rendered("fault", door | {"faults": ["strike"]}) == "ON"
    assert rendered("tamper", door) == "OFF"
    assert rendered("door", door) == "None"
    health = {"audit": {"last": 4711, "head": "ab" * 32}}
    assert rendered("audit_head", health) == "4711"
    noted = json.loads(rendered("audit_head", health, "json_attributes_template"))
    assert noted == {"noted": "4711:" + "ab" * 32}


async def main() -> None:
    components = json.load(sys.stdin)["components"]
    with tempfile.TemporaryDirectory() as folder:
        hass = await started(folder)
        templates(hass, components)
        await automation(hass)
        await hass.async_stop(force=True)


asyncio.run(main())
