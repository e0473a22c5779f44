"""The types the conformance cases are run with: an echo, an effect on a ledger over HTTP (claimed, and held late), a file with its before-image,
and one that gives its secret away. Run it: `python3 example_worker.py`; settings come from the environment, as for `baton-worker`."""

import json
import logging
import os
import time
import urllib.error
import urllib.request

from baton_worker import SECRET_TEXT, CannotTell, DidNot, Failed, Happened, Unknown, Worker

LEDGER = os.environ.get("BATON__AUTOMATIONS__TEST_EFFECT__LEDGER_URL", "")
ROOT = os.environ.get("BATON__AUTOMATIONS__FILES__ROOTS", "/nowhere")
worker = Worker(secrets={"door": lambda: os.environ["DOOR_SECRET"]})

FAILS = {"enum": ["retryable", "final"]}
MS = {"type": ["integer", "null"], "minimum": 0}


def told_to_fail(how):
    if how:
        raise Failed("told-to-fail", "failed as its input tells it to", retryable=how == "retryable")


@worker.task("test.echo@1", summary="Returns what it is given", effect="none", idempotent=True, timeout=10, input={
    "type": "object", "additionalProperties": False, "properties": {"value": True, "sleep_ms": MS, "fail": FAILS}})
def echo(ctx, given):
    ctx.wait((given.get("sleep_ms") or 0) / 1000)
    ctx.check()
    told_to_fail(given.get("fail"))
    return {"value": given.get("value")}


def ledger(ctx, path, call=None):
    """Asks the ledger; an answer that does not come says nothing."""
    body = None if call is None else json.dumps(call).encode()
    asked = urllib.request.Request(LEDGER + path, body, {"content-type": "application/json"})
    try:
        return json.load(urllib.request.urlopen(asked, timeout=max(ctx.remaining(), 0.1)))
    except urllib.error.HTTPError as error:
        told = Failed if error.code < 500 else Unknown
        raise told(f"http-{error.code}", "the ledger refuses the call") from None
    except OSError as error:
        raise Unknown("ledger-silent", str(error), retryable=True) from None


def enter(ctx, key, direction, value=None):
    call = {"key": key, "direction": direction, "saga": ctx.of["saga"], "step": ctx.of["step"], "run": ctx.run, "value": value}
    return ledger(ctx, "/effects", call)


def declare_effect(name, idempotent):
    fields = {"key": {"type": "string"}, "value": True, "delay_before_ms": MS, "delay_after_ms": MS, "fail": FAILS}

    @worker.task(name, summary="Enters one effect in a test ledger", idempotent=idempotent, input={
        "type": "object", "additionalProperties": False, "properties": fields})
    def effect(ctx, given):
        ctx.wait((given.get("delay_before_ms") or 0) / 1000)
        told_to_fail(given.get("fail"))
        ctx.check()
        key = given.get("key") or ctx.effect_key
        enter(ctx, key, "do", given.get("value"))
        ctx.wait((given.get("delay_after_ms") or 0) / 1000)
        return {"key": key}

    @effect.undo
    def _undo(ctx, given, output, before):
        enter(ctx, given.get("key") or ctx.effect_key, "undo")

    @effect.probe
    def _probe(ctx, given, before):
        key = given.get("key") or ctx.effect_key
        try:
            state = ledger(ctx, f"/effects/{key}")["state"]
        except Failed as silent:
            return CannotTell(str(silent))
        return Happened({"key": key}) if state == "applied" else DidNot()


declare_effect("test.effect@1", idempotent=False)
declare_effect("test.effect-late@1", idempotent=True)


def look(path):
    if not os.path.abspath(path).startswith(ROOT + "/"):
        raise Failed("outside", f"{path} does not lie below {ROOT}")
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def put(path, content):
    if content is None:
        return os.path.exists(path) and os.remove(path)
    with open(path + ".new", "w") as file:
        file.write(content)
    os.replace(path + ".new", path)


@worker.task("example.put@1", summary="Puts a small file in place", idempotent=True, before_image=True, input={
    "type": "object", "additionalProperties": False, "required": ["path", "content"],
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}}})
def file_put(ctx, given):
    path, content = given["path"], given["content"]
    found = look(path)
    original = ctx.checkpoint(found)  # durable before anything is changed
    if found not in (original, content):
        raise Failed("somebody-else", "what stands there is neither what was found nor what is to be written")
    put(path, content)
    return {"bytes": len(content)}


@file_put.undo
def _file_back(ctx, given, output, before):
    if ctx.of["direction"] == "undo" and not ctx.knows_before:
        return  # nothing was ever stored, so nothing was ever done
    found = look(given["path"])
    if found == before:
        return
    if found != given["content"]:
        raise Failed("somebody-else", "somebody has changed the file since")
    ctx.check()
    put(given["path"], before)


@worker.task("example.tell@1", summary="Gives its secret away, which its worker has to hide", effect="none", idempotent=True, input={
    "type": "object", "additionalProperties": False, "properties": {"door": SECRET_TEXT, "how": {"enum": ["output", "failed", "raise"]}}})
def tell(ctx, given):
    if given.get("how") == "failed":
        raise Failed("told", f"the code of the door is {given['door']}")
    if given.get("how") == "raise":
        raise ValueError(given["door"])
    return {"door": given["door"], f"of {given['door']}": [given["door"]]}


@worker.task("example.deaf@1", summary="Writes to a file for ever and heeds nobody", effect="irreversible", input={
    "type": "object", "additionalProperties": False, "required": ["path"], "properties": {"path": {"type": "string"}}})
def deaf(ctx, given):
    while True:
        with open(given["path"], "a") as file:
            file.write("on\n")
        time.sleep(0.05)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    worker.run()
