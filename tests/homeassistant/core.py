"""A real Home Assistant core with its MQTT integration, on the broker at port argv[1]: it finds the door
`Front door`, shows what happens there, unlocks it, and runs the automation of docs/homeassistant.md.
Exits with 0 if all is as that page says. Started by the ignored test
`home_assistant_core_shows_and_unlocks_the_door`, whose session is the door."""

import asyncio
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from types import MappingProxyType

import yaml
from homeassistant import config_entries, core, loader
from homeassistant.auth import auth_manager_from_config
from homeassistant.helpers import area_registry, device_registry, entity, entity_registry
from homeassistant.helpers import category_registry, floor_registry, issue_registry, label_registry
from homeassistant.helpers import frame, translation
from homeassistant.setup import async_setup_component

DECISION = "event.front_door_decision"
ENTRY = "broker"


def page_automation() -> dict:
    text = (Path(__file__).parents[2] / "docs" / "homeassistant.md").read_text()
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S).group(1))


async def started(folder: str) -> core.HomeAssistant:
    Path(folder, "configuration.yaml").touch()
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    await asyncio.gather(*(
        registry.async_load(hass)
        for registry in (
            area_registry, category_registry, device_registry, entity_registry, floor_registry,
            issue_registry, label_registry,
        )
    ))
    frame.async_setup(hass)
    loader.async_setup(hass)
    entity.async_setup(hass)
    translation.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await hass.config_entries.async_initialize()
    hass.auth = await auth_manager_from_config(hass, [], [])
    await hass.async_start()
    broker = {"broker": "127.0.0.1", "port": int(sys.argv[1]), "protocol": "5"}
    await hass.config_entries.async_add(config_entries.ConfigEntry(
        domain="mqtt", title="broker", data=broker, options={"discovery": True}, entry_id=ENTRY,
        source="user", unique_id=None, version=1, minor_version=2,
        discovery_keys=MappingProxyType({}), subentries_data=None,
    ))
    return hass


class House:
    def __init__(self, hass: core.HomeAssistant):
        self.hass = hass
        self.told = []
        hass.services.async_register("notify", "notify", self.told.append)

    async def until(self, entity_id: str, wanted, what=lambda state: state.state) -> None:
        for _ in range(200):
            state = self.hass.states.get(entity_id)
            if state is not None and what(state) == wanted:
                return await self.hass.async_block_till_done()
            await asyncio.sleep(0.05)
        raise AssertionError(f"{entity_id} is not {wanted}: {state}")

    async def happens(self, kind: str, outcome: str, age: float = 0) -> int:
        """Publishes an event, waits until it is shown, and returns how often the house was told."""
        payload = json.dumps({"kind": kind, "outcome": outcome, "time": time.time() - age, "id": time.time()})
        topic = f"doorward/front/event/{kind}"
        data = {"topic": topic, "payload": payload, "qos": 1}
        await self.hass.services.async_call("mqtt", "publish", data, blocking=True)
        if kind in ("access", "spoof"):
            wanted = json.loads(payload)["id"]
            await self.until(DECISION, wanted, lambda state: state.attributes.get("id"))
            assert self.hass.states.get(DECISION).attributes["event_type"] == outcome
        await asyncio.sleep(0.3)
        await self.hass.async_block_till_done()
        return len(self.told)

    async def call(self, domain: str, service: str, entity_id: str) -> None:
        await self.hass.services.async_call(domain, service, {"entity_id": entity_id}, blocking=True)


async def door(house: House) -> None:
    await house.until("lock.front_door_lock", "locked")
    await house.until("binary_sensor.front_door_forced_open", "on")
    await house.until("binary_sensor.front_door_held_open", "off")
    await house.until("binary_sensor.front_door_fault", "on")
    await house.until("binary_sensor.front_door_fault", ["buzzer"], lambda it: it.attributes["faults"])
    await house.until("binary_sensor.front_door_tamper", "off")
    await house.until("binary_sensor.front_door_door", "unknown")
    await house.until("sensor.front_door_audit_log", "4711")
    await house.until("sensor.front_door_audit_log", "4711:" + "ab" * 32, lambda it: it.attributes["noted"])


async def automation(house: House) -> None:
    config = {"automation": [page_automation()]}
    assert await async_setup_component(house.hass, "automation", config)
    await house.until(DECISION, "unknown")
    assert await house.happens("access", "granted") == 0, "fired for a resident"
    assert await house.happens("spoof", "spoof") == 1, "did not fire"
    assert await house.happens("door", "opened") == 1, "fired for a door event"
    await house.hass.config_entries.async_unload(ENTRY)
    await house.until(DECISION, "unavailable")
    await house.hass.config_entries.async_setup(ENTRY)
    await house.until(DECISION, "spoof", lambda state: state.attributes.get("event_type"))
    await asyncio.sleep(1)
    await house.hass.async_block_till_done()
    assert len(house.told) == 1, "fired at a reload"
    assert await house.happens("spoof", "spoof", age=600) == 1, "fired for a late event"
    assert await house.happens("spoof", "spoof") == 2, "did not fire again"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        hass = await started(folder)
        house = House(hass)
        await door(house)
        await automation(house)
        await house.call("lock", "unlock", "lock.front_door_lock")
        await asyncio.sleep(1)
        await house.call("button", "press", "button.front_door_unlock")
        await asyncio.sleep(1)
        await hass.async_stop(force=True)


asyncio.run(main())
