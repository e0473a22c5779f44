"""Write a Baton worker in Python: declare automations, call `Worker.run()`.

One process, one thread, one event loop speaks to the broker; each run is a process of its own, forked from it. So a run that has to end is
ended (SIGKILL, with whatever it started and left in its process group), a crash of it is nobody else's, and nothing here needs a lock. The rules
it keeps are those of workers/PROTOCOL.md; the cases in schemas/json/conformance prove it.

Needs python3-pika, and python3-jsonschema for the schemas of inputs. Linux: a run whose worker is killed is killed by the kernel.
"""

import copy
import ctypes
import hashlib
import json
import logging
import mmap
import os
import re
import select
import signal
import socket
import struct
import time
import traceback
import uuid

import jsonschema
import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

__all__ = ["Worker", "Options", "Failed", "Unknown", "Happened", "DidNot", "CannotTell", "SECRET_TEXT"]
log = logging.getLogger("baton_worker")

NAMESPACE = uuid.UUID("efaa0653-2f55-511c-aa67-8cdb9f58cb6c")
BODY_MAX, OUTPUT_MAX, BEFORE_MAX, PROGRESS_MAX = 512 << 10, 64 << 10, 176 << 10, 64 << 10
MESSAGE_CHARS_MAX = 2000  # of a failure; the rest is cut, after it was masked
LATE_TIMEOUT_MAX = 300.0  # a type that may run longer is held by claim
DELIVERIES_MAX = 10
CANCELS_KEPT = 1024
RETRY_MIN, RETRY_MAX = 0.2, 5.0  # pauses before a report is sent again, in seconds
SECRET_MIN = 6  # a shorter secret could not be masked, in bytes
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
FOREVER = 30 * 86400.0  # seconds; timers take no more

# The schema of a field that takes a text or a reference to a secret of the worker.
SECRET_TEXT = {"x-secret": True, "anyOf": [{"type": "string"}, {
    "type": "object", "properties": {"$secret": {"type": "string"}}, "required": ["$secret"], "additionalProperties": False}]}


def derived(*parts):
    """A derived id: UUIDv5 of the parts, joined by U+001F (schemas/json/slice-vectors.json)."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(parts)))


def now_ms():
    return int(time.time() * 1000)


def clock():
    """Seconds by a clock nobody sets, that goes on while the process, or the machine, is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Failed(Exception):
    """Raise it when PROVABLY nothing was changed, and nothing that was started is still alive. `retryable`: another attempt may do better."""

    kind = "failed"

    def __init__(self, code, message, retryable=False, retry_after=None):
        super().__init__(f"{code}: {message}")
        self.failure = {"code": str(code), "message": str(message), "retryable": bool(retryable)}
        if retry_after is not None:
            self.failure["retry_after_ms"] = int(retry_after * 1000)


class Unknown(Failed):
    """Raise it when it may or may not have happened. Any exception but these two counts as this one."""

    kind = "unknown"


class Happened:
    """A probe's answer: `do` happened, and would have returned this."""

    def __init__(self, output):
        self.answer = {"happened": {"output": output}}


class DidNot:
    """A probe's answer: `do` did not happen."""

    answer = "did-not"


class CannotTell:
    """A probe's answer: it cannot be told."""

    def __init__(self, reason):
        self.answer = {"cannot-tell": {"reason": reason}}


class Options:
    """Who a worker is and within which bounds it works. Each may be set by the environment as `BATON__WORKER__HEARTBEAT_MS`, as for `baton-worker`."""

    def __init__(self, **given):
        self.url = os.environ.get("BATON__BUS__ADDRESSES", "amqp://127.0.0.1:5672/%2f").split(",")[0]
        self.name = os.environ.get("BATON__WORKER__NAME") or f"{re.sub('[^A-Za-z0-9_-]', '-', socket.gethostname())}_{uuid.uuid4().hex[:8]}"
        self.pools = os.environ.get("BATON__WORKER__POOLS", "default").split(",")
        self.version = "0.1.0"
        self.secrets = {}  # name -> text, or a function that returns it; resolved last thing before a run is entered
        numbers = dict(concurrency=8, drain_grace_ms=30_000, kill_grace_ms=2_000, grant_ask_ms=2_000, grant_wait_ms_max=60_000,
                       heartbeat_ms=5_000, announce_ms=15_000)
        for key, default in numbers.items():
            setattr(self, key, int(os.environ.get(f"BATON__WORKER__{key.upper()}", default)))
        for key, value in given.items():
            if not hasattr(self, key):
                raise TypeError(f"there is no option {key!r}")
            setattr(self, key, value)


class Automation:
    """One task type: what `Worker.task` makes of a function. `undo` and `probe` take the functions for the other directions."""

    def __init__(self, run, manifest):
        self.run, self.manifest = run, manifest
        self.ways = {"do": run}
        self.schema = jsonschema.Draft202012Validator(manifest["input"])

    def undo(self, function):
        """Takes the effect back: `undo(ctx, input, output, before)`. Idempotent, and content with "it never happened"."""
        self.ways["undo"], self.manifest["undo"] = function, True
        return function

    def probe(self, function):
        """Says whether `do` happened, changing nothing: `probe(ctx, input, before)` returns Happened, DidNot or CannotTell."""
        self.ways["probe"], self.manifest["probe"] = function, True
        return function


# --- what a run sees: this part lives in the run's own process ---------------------------------------------------------


class Context:
    """What a run knows beside its input."""

    def __init__(self, run, pipe, deadline):
        task = run["task"]
        self.of, self.run, self.worker = task["of"], run["run"], run["worker"]
        self.idempotency_key, self.fences = task["idempotency_key"], dict(task.get("fences", {}))
        self.before, self.progress = task.get("before"), task.get("progress")
        self.knows_before, self._deadline, self._ends = "before" in task, deadline, run["ends"]
        self._pipe, self._answers = pipe, pipe.makefile()
        # Any signal ends a wait: no moment between looking and sleeping is lost.
        self._woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.detach(), warn_on_full_buffer=False)
        self.cancelled = False

    @property
    def effect_key(self):
        """The key of the effect of `do`, whatever the direction: what an undo or a probe names to the outside system."""
        of = self.of
        return derived("effect", of["saga"], of["step"], str(of.get("item", "")), "do", str(of["round"]))

    def check(self):
        """Raises `Failed` when the run may not act any more: call it last thing before an effect."""
        if self.cancelled or self.remaining() <= 0:
            raise Failed("stopped", "told to stop before its effect", retryable=True)

    def remaining(self):
        """Seconds this run may still go on."""
        return min(self._ends, struct.unpack("d", self._deadline[:8])[0]) - clock()

    def wait(self, seconds):
        """Sleeps; returns early when the run is to stop."""
        until = clock() + seconds
        while not self.cancelled and (left := min(until - clock(), self.remaining())) > 0:
            if select.select([self._woken], [], [], left)[0]:
                self._woken.recv(64)

    def checkpoint(self, found):
        """Stores the state found before anything is changed; returns when that is durable. What an earlier attempt stored counts, and is returned."""
        if not self.knows_before:
            self._store("before", found)
            self.before, self.knows_before = found, True
            self.check()
        return self.before

    def keep(self, reached):
        """Stores how far it has come. Raises `Unknown` when the run is to stop: something may have been done by now."""
        self._store("progress", reached)
        self.progress = reached
        if self.cancelled or self.remaining() <= 0:
            raise Unknown("stopped", "told to stop between two of its effects", retryable=True)

    def _stop(self, *_):
        self.cancelled = True

    def _store(self, kind, value):
        self._pipe.sendall(_line({"checkpoint": kind, "value": value}))
        answer = json.loads(self._answers.readline())
        if answer:
            code, message, retryable = answer
            raise (Failed if kind == "before" else Unknown)(code, message, retryable=retryable)


def _line(value):
    # What no UTF-8 can hold raises here, in the run's own process, and not in the worker that passes it on.
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _run_in_child(automation, run, pipe, deadline):
    """The whole life of a run's process, entered after the fork; never returns."""
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: dies with its worker
        if os.getppid() != run["parent"]:
            os._exit(1)
        context = Context(run, pipe, deadline)

        def end_of_lease(*_):
            # Whoever stopped this process, or its worker, past the lease: not one more step.
            left = struct.unpack("d", deadline[8:16])[0] - clock()
            if left <= 0:
                os.killpg(0, signal.SIGKILL)
            signal.setitimer(signal.ITIMER_REAL, min(left, FOREVER))

        signal.signal(signal.SIGALRM, end_of_lease)
        signal.signal(signal.SIGTERM, context._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # they waited since the fork
        end_of_lease()
        pipe.sendall(_line({"end": _enter(automation, context, run)}))
    except BaseException as error:  # whatever it is: the worker sees the end of the pipe and says `unknown`
        log.error("a run ended badly: %s", mask(repr(error), run["secrets"]))
    finally:
        os._exit(0)


def _enter(automation, context, run):
    task, way = run["task"], run["task"].get("act", run["task"]["of"]["direction"])
    act = automation.ways.get(way)
    if act is None:
        return {"failed": {"code": f"no-{way}", "message": f"{task['task_type']} has no {way}", "retryable": False}}
    try:
        if way == "do":
            output = act(context, run["input"])
            json.dumps(output, allow_nan=False)
            # A step undone by a task of its own: of `undo` the output is null.
            return {"succeeded": {"output": None if task["of"]["direction"] == "undo" else output}}
        if way == "undo":
            act(context, run["input"], task.get("output"), task.get("before"))
            return {"succeeded": {"output": None}}
        return {"probed": act(context, run["input"], task.get("before")).answer}
    except Failed as told:
        return {told.kind: told.failure}
    except Exception as error:
        log.error("the automation raised\n%s", mask(traceback.format_exc(), run["secrets"]))
        return {"unknown": {"code": "panicked", "message": f"the automation raised {error!r}", "retryable": True}}


# --- what comes from a queue --------------------------------------------------------------------------------------------


class Refused(Exception):
    """A message nobody can use: a reason of `baton-dead-reason`, and a sentence that says nothing of its content."""


class _Object(dict):
    twice = False


def _pairs(pairs):
    made = _Object(pairs)
    made.twice = len(made) != len(pairs)
    return made


def _no_constant(_):
    raise ValueError("no JSON")


def read_json(body):
    """JSON as the contract has it: no NaN. An object that has a field twice knows it."""
    return json.loads(body.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_no_constant)


def _whole(least, most):
    return lambda v: type(v) is int and least <= v <= most


def _text(pattern):
    pattern = re.compile(pattern)
    return lambda v: isinstance(v, str) and pattern.fullmatch(v) is not None


def _uuid(value):
    return _text("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")(value)


_U32, _U64 = _whole(0, 2**32 - 1), _whole(0, 2**64 - 1)
_DIRECTION = ("do", "undo", "probe").__contains__
_anything = lambda _: True  # noqa: E731
_OF = {"saga": _uuid, "step": _text("[a-z][a-z0-9_]{0,63}"), "item?": _U32, "direction": lambda v: isinstance(v, str) and _DIRECTION(v),
       "round": _U32, "attempt": _U32, "dispatch": _U32}
_TASK = {"of": lambda v: _fits(v, _OF), "task_type": _text(r"[a-z]([a-z0-9.-]{0,116}[a-z0-9])?@[1-9][0-9]{0,8}"),
         "pool": _text("[a-z][a-z0-9-]{0,63}"), "idempotency_key": _uuid, "inbox": _text("[0-9]{2}"),
         "hold": lambda v: v in ("late", "claim"), "not_after": _U64, "ask_after?": _U64, "timeout_ms": _U64, "lease_ms": _U64,
         "act?": lambda v: v in ("do", "undo", "probe"), "input": _anything, "output?": _anything, "before?": _anything, "progress?": _anything,
         "fences?": lambda v: isinstance(v, dict) and not v.twice and all(_U64(n) for n in v.values())}
_MAY_BE_NULL = ("item", "ask_after", "act")  # null is as good as absent


def _fits(value, shape):
    if not isinstance(value, dict) or value.twice:
        return False
    for name in _MAY_BE_NULL:
        if value.get(name, 0) is None and f"{name}?" in shape:
            del value[name]
    known = {name.rstrip("?"): fits for name, fits in shape.items()}
    return all(name.endswith("?") or name in value for name in shape) and all(n in known and known[n](v) for n, v in value.items())


def read_task(properties, body, serves):
    """The task in a message of the queue of the type `serves`, or `Refused`."""
    if len(body) > BODY_MAX:
        raise Refused("too-large", f"{len(body)} bytes, more than {BODY_MAX}")
    version = (properties.headers or {}).get("baton-version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version != 1:  # pika has an int of its own
        raise Refused("unknown-kind", "the header baton-version is not 1")
    if properties.type not in (None, "task@1"):
        raise Refused("unknown-kind", "no task@1 on a task queue")
    try:
        message = read_json(body)
    except (ValueError, RecursionError):
        raise Refused("undecodable", "it is not JSON") from None
    if not _fits(message, {"task@1": lambda task: _fits(task, _TASK)}):
        raise Refused("undecodable", "it has not the shape of task@1")
    if message["task@1"]["task_type"] != serves:
        raise Refused("unknown-type", f"a task of another type on the queue of {serves}")
    return message["task@1"]


def _secret_places(schema, root, path):
    """Whether the schema says `x-secret` somewhere on the way along `path`."""
    if not isinstance(schema, dict):
        return False
    if schema.get("x-secret") is True:
        return True
    reference = schema.get("$ref", "")
    if reference.startswith("#/"):
        target = root
        for part in reference[2:].split("/"):
            target = target.get(part, {})
        if _secret_places(target, root, path):
            return True
    if any(_secret_places(inner, root, path) for key in ("anyOf", "oneOf", "allOf") for inner in schema.get(key, [])):
        return True
    if not path:
        return False
    below = schema.get("properties", {}).get(path[0], schema.get("items" if isinstance(path[0], int) else "additionalProperties"))
    return _secret_places(below, root, path[1:])


def replace_secrets(value, resolve, path=()):
    """A copy of an input in which `resolve(name, path)` stands for each reference to a secret, `{"$secret": NAME}`."""
    if isinstance(value, dict):
        if "$secret" in value:
            name = value["$secret"]
            if len(value) != 1 or not isinstance(name, str):
                raise Failed("secret-misplaced", "a reference to a secret takes one name and nothing else")
            return resolve(name, path)
        return {key: replace_secrets(inner, resolve, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [replace_secrets(inner, resolve, (*path, at)) for at, inner in enumerate(value)]
    return value


def mask(value, secrets):
    """The value with every secret in it as ***: in texts, in keys, and as JSON or Python would write them."""
    if isinstance(value, str):
        for secret in secrets:
            for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]):
                value = value.replace(form, "***")
        return value
    if isinstance(value, dict):
        return {mask(key, secrets): mask(inner, secrets) for key, inner in value.items()}
    return [mask(inner, secrets) for inner in value] if isinstance(value, list) else value


# --- the worker -----------------------------------------------------------------------------------------------------------


def _name(properties):
    """What a message that comes back is recognised by."""
    return (properties.headers or {}).get("baton-dead-id") or properties.message_id


class Lease:
    """How long a claimed run may go on without a sign of life that was confirmed; counts from when that was SENT."""

    def __init__(self, lease_ms, sent):
        self.length = lease_ms / 1000
        self.grace, self.renewed = min(10.0, self.length / 2), sent

    def renew(self, sent):
        if sent < self.kills():  # one that was over by then stays over
            self.renewed = max(self.renewed, sent)

    def ends(self):
        return self.renewed + self.length - self.grace

    def kills(self):
        return self.renewed + self.length - self.grace / 2


class Run:
    """One task in hand."""

    def __init__(self, task, automation, delivery):
        self.task, self.automation, self.id = task, automation, str(uuid.uuid4())
        self.deliveries = [delivery]  # what is to be acknowledged with it
        self.first_delivery, self.lease, self.state = delivery, None, "new"  # new, asking, running, ended
        self.asked, self.ask_again, self.gives_up = 0, 0.0, 0.0
        self.why, self.stop_at, self.ends = None, None, 0.0
        self.pid, self.pipe, self.buffer, self.deadline, self.result = None, None, b"", None, None
        self.number, self.stored, self.started_at, self.timer, self.kill_at = 0, {}, None, None, float("inf")


class Delivery:
    """One delivery, and the channel its answer belongs to."""

    def __init__(self, channel, method, properties, queue):
        self.channel, self.tag, self.queue, self.method = channel, method.delivery_tag, queue, method
        self.count = int((properties.headers or {}).get("x-delivery-count", 0)) + 1
        self.before = method.redelivered or self.count > 1

    def whole(self):
        return self.channel.is_open

    def ack(self):
        if self.channel.is_open:
            self.channel.basic_ack(self.tag)

    def give_back(self):
        if self.channel.is_open:
            self.channel.basic_nack(self.tag, requeue=True)


class Worker:
    """Automations, and what runs them. `Worker(name="…", url="…")` takes what `Options` has."""

    def __init__(self, **options):
        self.options, self.automations = Options(**options), {}
        self.loop, self.consuming, self.publishing, self.out = None, None, None, None
        self.runs, self.waiting, self.cancelled, self.consumers = {}, [], [], {}
        self.unconfirmed, self.to_send, self.seen_queues, self.secrets_seen = {}, {}, set(), []
        self.draining, self.beats, self.said_goodbye, self.announcing, self.sent_tags = False, 0, False, None, 0

    def task(self, task_type, *, summary, input=True, output=True, effect="reversible", idempotent=False, before_image=False, timeout=30.0,
             timeout_max=None, retry=None, settle=0.0, examples=()):
        """Declares a function `run(ctx, input)` as an automation. `input` and `output` are JSON Schemas; `effect` is none, reversible or irreversible;
        times are in seconds."""
        limits = {"attempts": 3, "backoff_ms": 1000, "factor": 2.0, "max_ms": 60_000, **(retry or {})}
        manifest = dict(task_type=task_type, summary=summary, input=input, output=output, effect=effect, idempotent=idempotent,
                        before_image=before_image, undo=False, probe=False, dry_run=False, timeout_ms_default=int(timeout * 1000),
                        timeout_ms_max=int((timeout_max or max(timeout, LATE_TIMEOUT_MAX)) * 1000), settle_ms=int(settle * 1000),
                        retry=limits, examples=list(examples))

        def declare(function):
            self.automations[task_type] = Automation(function, manifest)
            return self.automations[task_type]

        return declare

    def run(self):
        """Works until SIGTERM, SIGINT or a `drain@1`, then ends in order."""
        self.loop = IOLoop()
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        self.loop.add_handler(woken.fileno(), lambda *_: woken.recv(64) and self.drain(), self.loop.READ)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # the loop hears it
        self._connect("consuming", 0.2)
        self._connect("publishing", 0.2)
        self.loop.call_later(0, self._beat)
        self.loop.start()
        log.info("ended")

    # connections

    def _connect(self, what, pause):
        parameters = pika.URLParameters(self.options.url)
        parameters.heartbeat, parameters.blocked_connection_timeout = 5, None
        parameters.client_properties = {"connection_name": f"{self.options.name} {what}"}

        def again(_connection, error, pause=pause):
            if self.said_goodbye:
                return self.loop.stop() if what == "publishing" else None
            log.warning("%s: no broker (%s), connecting again", what, error)
            if what == "publishing":
                self.out = None
            self.loop.call_later(pause, lambda: self._connect(what, min(pause * 2, 5.0)))

        opened = self._consume if what == "consuming" else self._publish_on
        connection = SelectConnection(parameters, opened, again, lambda c, e: again(c, e, 0.2), custom_ioloop=self.loop)
        setattr(self, what, connection)

    def _consume(self, connection):
        if self.draining:
            return
        queue = f"baton.control.{self.options.name}"

        def opened(channel):
            channel.add_on_close_callback(lambda *_: connection.is_open and not self.draining and connection.close())
            channel.add_on_cancel_callback(lambda _frame: channel.close())
            channel.queue_declare(queue, exclusive=True, auto_delete=True)
            channel.queue_bind(queue, "baton.control", "all")
            channel.queue_bind(queue, "baton.control", f"worker.{self.options.name}")
            # Listening comes first; then tasks.
            channel.basic_consume(queue, self._control, auto_ack=True, callback=lambda _: self._take_tasks(connection))

        connection.channel(on_open_callback=opened)

    def _take_tasks(self, connection):
        for pool in self.options.pools:
            for task_type in self.automations:
                self._take(connection, f"baton.task.{pool}.{task_type}", task_type)

    def _take(self, connection, queue, task_type):
        if not connection.is_open or self.draining:
            return

        def opened(channel):
            # A queue that is not there yet closes the channel: a new one, with a pause.
            channel.add_on_close_callback(lambda *_: self.loop.call_later(0.5, lambda: self._take(connection, queue, task_type)))
            # So does one that was deleted under us, which the broker says by a cancel.
            channel.add_on_cancel_callback(lambda _frame: channel.close())
            channel.basic_qos(prefetch_count=self.options.concurrency)
            on_message = lambda ch, method, props, body: self._delivered(queue, task_type, ch, method, props, body)  # noqa: E731
            self.consumers[queue] = (channel, channel.basic_consume(queue, on_message))

        connection.channel(on_open_callback=opened)

    # publishing: confirmed, and not returned; else again, under the same id

    def _publish_on(self, connection):
        def opened(channel):
            self.unconfirmed, self.out = {}, channel
            channel.add_on_return_callback(lambda _c, _m, properties, _b: self._returned(_name(properties)))
            channel.add_on_close_callback(lambda *_: self._lost(channel))
            channel.confirm_delivery(lambda frame: self._confirmed(channel, frame))
            self.sent_tags = 0
            for letter in list(self.to_send.values()):
                self._send(letter)
            self._announce()

        connection.channel(on_open_callback=opened)

    def _lost(self, channel):
        if channel is not self.out:
            return
        self.out, lost, self.unconfirmed = None, list(self.unconfirmed.values()), {}
        for letter in lost:
            self._not_through(letter)
        if self.publishing.is_open and not self.said_goodbye:
            self._publish_on(self.publishing)

    def _say(self, exchange, key, kind, message_id, make, done=None, keep=True, mandatory=True, saga=None):
        """Publishes what `make()` returns, made anew on every try. `done(sent, through)` is told; with `keep` it is tried again for ever."""
        letter = dict(exchange=exchange, key=key, kind=kind, id=message_id, make=make, done=done, keep=keep, mandatory=mandatory, saga=saga,
                      returned=False, tries=0)
        if keep:
            self.to_send[message_id] = letter
        self._send(letter)

    def _send(self, letter):
        if letter["keep"] and self.to_send.get(letter["id"]) is not letter:
            return
        if self.out is None or not self.out.is_open:
            return None if letter["keep"] else self._not_through(letter)
        headers, saga = {"baton-version": 1}, letter["saga"]
        properties = pika.BasicProperties(
            message_id=letter["id"], type=letter["kind"], content_type="application/json", app_id="baton", correlation_id=saga, headers=headers,
            delivery_mode=2 if letter["keep"] else 1, timestamp=int(time.time()))
        body = letter["make"]()
        if isinstance(body, tuple):  # a dead letter has the properties it came with
            properties, body = body
        letter.update(returned=False, sent=clock(), sent_as=_name(properties))
        self.sent_tags += 1
        self.unconfirmed[self.sent_tags] = letter
        self.out.basic_publish(letter["exchange"], letter["key"], body, properties, mandatory=letter["mandatory"])

    def _returned(self, match):
        for letter in self.unconfirmed.values():
            if match == letter["sent_as"]:
                letter["returned"] = True

    def _confirmed(self, channel, frame):
        if channel is not self.out:
            return
        tag, acked = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Ack)
        tags = [t for t in self.unconfirmed if t <= tag] if frame.method.multiple else [tag]
        for letter in [self.unconfirmed.pop(t) for t in tags if t in self.unconfirmed]:
            if not acked or letter["returned"]:
                self._not_through(letter)
                continue
            self.to_send.pop(letter["id"], None)
            if letter["done"]:
                letter["done"](letter["sent"], True)
        self._look_for_the_end()

    def _not_through(self, letter):
        if not letter["keep"]:
            return letter["done"] and letter["done"](None, False)
        pause = min(RETRY_MIN * 2 ** letter["tries"], RETRY_MAX)
        letter["tries"] += 1
        self.loop.call_later(pause, lambda: self._send(letter))

    def _report(self, run, kind, number, make, done=None):
        def body():
            return json.dumps({f"{kind}@1": make()}, allow_nan=False).encode()

        saga = run.task["of"]["saga"]
        message_id = derived("report", kind, run.id, str(number))
        self._say("baton.inbox", run.task["inbox"], f"{kind}@1", message_id, body, done, saga=saga)

    # the fleet

    def _fleet(self, kind, message, done=None, mandatory=False):
        body = json.dumps({f"{kind}@1": message}).encode()
        self._say("baton.fleet", "", f"{kind}@1", str(uuid.uuid4()), lambda: body, done, keep=False, mandatory=mandatory)

    def _announce(self):
        if self.draining:
            return
        options = self.options
        again = lambda ms: self.loop.call_later(ms / 1000, self._announce)  # noqa: E731
        if self.announcing is not None:
            self.loop.remove_timeout(self.announcing)
        self.announcing = again(options.announce_ms)
        manifests = [automation.manifest for automation in self.automations.values()]
        said = dict(worker=options.name, pools=options.pools, version=options.version, concurrency=options.concurrency, types=manifests, at=now_ms())

        def heard(_sent, through):
            if not through:  # nobody there yet: soon again
                self.loop.remove_timeout(self.announcing)
                self.announcing = again(min(1000, options.announce_ms))

        self._fleet("announcement", said, heard, mandatory=True)

    def _beat(self):
        if self.said_goodbye:
            return
        self.loop.call_later(self.options.heartbeat_ms / 1000, self._beat)
        self.beats += 1
        held = [run for run in self.runs.values() if run.lease]

        def confirmed(sent, through):
            for run in held if through else ():
                run.lease.renew(sent)
                self._set_deadline(run)

        running = [{"of": run.task["of"], "run": run.id} for run in held]
        self._fleet("heartbeat", dict(worker=self.options.name, number=self.beats, running=running, at=now_ms()), confirmed)

    def _control(self, _channel, _method, _properties, body):
        try:
            kind, told = next(iter(json.loads(body).items()))
            if kind == "grant@1" and told["worker"] == self.options.name:
                self._answered(self.runs.get(told["run"]), told["of"], told["answer"])
            elif kind == "cancel@1":
                self._cancel(told["of"])
            elif kind == "drain@1" and told["worker"] == self.options.name:
                self.drain()
            elif kind == "roll-call@1":
                self._announce()
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
            log.warning("a control message cannot be read (%s): dropped, as any hint may be", type(error).__name__)

    def _cancel(self, of):
        found = [run for run in self.runs.values() if run.task["of"] == of]
        for run in found:
            self._stop(run, "cancelled")
        if not found:
            self.cancelled = [*self.cancelled[-CANCELS_KEPT + 1:], of]

    # tasks

    def _delivered(self, queue, task_type, channel, method, properties, body):
        delivery = Delivery(channel, method, properties, queue)
        first, _ = queue not in self.seen_queues, self.seen_queues.add(queue)
        if self.draining:
            return delivery.give_back()
        try:
            if first and delivery.count > DELIVERIES_MAX:
                raise Refused("delivered-too-often", f"delivered {delivery.count} times, and never begun: it may be what kills its workers")
            task = read_task(properties, body, task_type)
        except Refused as refused:
            return self._park(delivery, properties, body, *refused.args)
        for run in self.runs.values():
            if method.redelivered and run.task["of"] == task["of"]:
                return run.deliveries.append(delivery)
        self.waiting.append(Run(task, self.automations[task_type], delivery))
        self._begin_what_waits()

    def _park(self, delivery, properties, body, reason, error):
        kept = copy.copy(properties)
        acts = lambda name: name in ("x-delivery-count", "x-acquired-count", "CC", "BCC") or name.startswith(("x-death", "x-first-death-", "x-last-death-"))  # noqa: E731
        headers = {f"baton-dead-{n}" if acts(n) else n: v for n, v in (properties.headers or {}).items()}
        for name in ("expiration", "user_id", "reply_to"):  # what would do something on the way
            if getattr(kept, name) is not None:
                headers[f"baton-dead-{name.replace('_', '-')}"] = getattr(kept, name)
                setattr(kept, name, None)
        method, message_id = delivery.method, properties.message_id
        of_body = uuid.UUID(bytes=hashlib.sha1(uuid.NAMESPACE_OID.bytes + body).digest()[:16], version=5)
        dead_id = derived("dead", delivery.queue, message_id, str(of_body)) if message_id else str(uuid.uuid4())
        notes = {"id": dead_id, "reason": reason, "error": error, "queue": delivery.queue, "exchange": method.exchange, "key": method.routing_key,
                 "at-ms": now_ms(), "by": self.options.name, "deliveries": delivery.count}
        headers.update({f"baton-dead-{name}": value for name, value in notes.items()})
        kept.headers, kept.delivery_mode = headers, 2
        log.warning("a message of %s nobody can use is parked: %s, %s", delivery.queue, reason, error)
        self._say("baton.dead", method.routing_key, "", str(uuid.uuid4()), lambda: (kept, body), lambda *_: delivery.ack())

    def _begin_what_waits(self):
        while self.waiting and len(self.runs) < self.options.concurrency:
            run = self.waiting.pop(0)
            if run.first_delivery.whole():  # else it comes again
                self.runs[run.id] = run
                self._begin(run)

    def _begin(self, run):
        task = run.task
        misfit = None
        if now_ms() > task["not_after"]:
            return self._not_run(run, "it came too late")
        if task["of"] in self.cancelled:
            return self._not_run(run, "it was cancelled before it began")
        try:
            replace_secrets(task["input"], lambda name, path: self._secret_may_stand(run, name, path))
            misfit = jsonschema.exceptions.best_match(run.automation.schema.iter_errors(task["input"]))
        except Failed as failed:
            return self._end(run, {"failed": failed.failure}, started=False)
        if misfit:
            message = f"the input does not fit {task['task_type']}: at {misfit.json_path}, {misfit.validator}"
            return self._end(run, {"failed": {"code": "input-misfit", "message": message, "retryable": False}}, started=False)
        late = task["hold"] == "late" and not run.first_delivery.before and now_ms() <= task.get("ask_after", task["not_after"])
        if late:
            return self._act(run)
        # By claim: nobody acts before the orchestrator has committed who does. The lease counts from before the claim is first sent.
        run.state, run.lease = "asking", Lease(task["lease_ms"], clock())
        run.gives_up = clock() + min(self.options.grant_wait_ms_max, task["not_after"] - now_ms()) / 1000
        self._ask(run)

    def _ask(self, run):
        run.asked += 1
        run.ask_again = float("inf")

        def confirmed(*_):
            run.ask_again = clock() + self.options.grant_ask_ms / 1000
            self._ack(run)
            self._look(run)

        said = {"of": run.task["of"], "run": run.id, "worker": self.options.name, "at": now_ms()}
        self._report(run, "started", run.asked, lambda: said, confirmed)
        self._look(run)

    def _answered(self, run, of, answer):
        if run is None or run.state != "asking" or run.task["of"] != of:
            return
        self._ack(run)
        self._unsay_claim(run)
        if "granted" in answer:
            run.task.update(answer["granted"])  # `before` and `progress`, where they are present
            self._act(run)
        else:
            log.info("a claim was refused (%s): nothing is done", answer)
            self._forget(run)

    def _act(self, run):
        """Enters the automation, in a process of its own. Whether it may act at all is looked at here, last thing."""
        task = run.task
        run.ends = clock() + task["timeout_ms"] / 1000
        until = task["not_after"] if run.lease else min(task["not_after"], task.get("ask_after", task["not_after"]))
        try:
            given = replace_secrets(task["input"], lambda name, _path: self._secret(name))
        except Failed as failed:
            return self._end(run, {"failed": failed.failure}, started=False)
        if run.why:
            return self._not_run(run, "it was cancelled before it began")
        if run.lease and run.lease.ends() <= clock():
            return self._not_run(run, "its lease was over before it began")
        if now_ms() > until:
            return self._not_run(run, "it came too late")
        run.state, run.started_at, run.deadline = "running", now_ms(), mmap.mmap(-1, 16)
        self._set_deadline(run)
        ours, theirs = socket.socketpair()
        inside = {"task": task, "run": run.id, "worker": self.options.name, "input": given, "ends": run.ends, "parent": os.getpid(),
                  "secrets": self.secrets_seen}
        # Until the run's process hears for itself: what is sent to it must not be taken for a word to its worker, nor be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            run.pid = os.fork()
            if run.pid == 0:
                ours.close()
                _run_in_child(run.automation, inside, theirs, run.deadline)
        finally:
            # also where there was no room for another process
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        theirs.close()
        ours.setblocking(False)
        run.pipe = ours
        self.loop.add_handler(ours.fileno(), lambda *_: self._hear(run), self.loop.READ)
        self._look(run)

    def _hear(self, run):
        """What a run's process says: checkpoints to be stored, and its end."""
        try:
            heard = run.pipe.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        run.buffer += heard
        *lines, run.buffer = run.buffer.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "end" in said:
                run.result, heard = said["end"], b""
            else:
                self._checkpoint(run, said["checkpoint"], said["value"])
        if not heard:
            self._reap(run)

    def _checkpoint(self, run, kind, value):
        limit, bytes_ = {"before": BEFORE_MAX, "progress": PROGRESS_MAX}[kind], len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
        if mask(value, self.secrets_seen) != value:
            return self._tell(run, ["checkpoint-holds-secret", f"the {kind} checkpoint holds a secret, which must never be stored", False])
        if bytes_ > limit:
            return self._tell(run, ["checkpoint-too-large", f"the {kind} checkpoint has {bytes_} bytes, more than {limit}", False])
        run.number += 1
        said = {"of": run.task["of"], "run": run.id, "kind": kind, "number": run.number, "value": value}

        def confirmed(*_):
            run.stored[kind] = value
            self._tell(run, None)

        self._report(run, "checkpoint", run.number, lambda: said, confirmed)

    def _tell(self, run, answer):
        """Answers a run's process. One that has died hears nothing, which the end of its pipe says soon."""
        try:
            if run.pipe is not None:
                run.pipe.send(_line(answer))
        except OSError:
            pass

    def _reap(self, run):
        self.loop.remove_handler(run.pipe.fileno())
        run.pipe.close()
        run.pipe = None
        try:
            os.killpg(run.pid, signal.SIGKILL)  # nothing it started in its group is still alive when its end is told
        except (ProcessLookupError, PermissionError):
            pass
        os.waitpid(run.pid, 0)
        why = run.why or ("lease-lost" if run.lease and run.lease.kills() <= clock() else "panicked")
        ended = "its process ended without saying how far it had come"
        self._end(run, run.result or {"unknown": {"code": why, "message": ended, "retryable": True}}, started=True)

    # the end of a run

    def _not_run(self, run, reason):
        self._unsay_claim(run)
        self._end(run, {"not-run": {"reason": reason}}, started=False)

    def _end(self, run, result, started):
        run.state = "ended"
        self._no_timer(run)
        result = mask(result, self.secrets_seen)
        for failure in (result.get("failed"), result.get("unknown")):
            if failure:
                failure["message"] = failure["message"][:MESSAGE_CHARS_MAX]
        output = (result.get("succeeded") or {}).get("output")
        if isinstance(result.get("probed"), dict):
            output = result["probed"].get("happened", {}).get("output")
        if len(json.dumps(output, separators=(",", ":"), ensure_ascii=False).encode()) > OUTPUT_MAX:
            result = {"unknown": {"code": "output-too-large", "message": f"the output has more than {OUTPUT_MAX} bytes", "retryable": False}}
        finished_at = now_ms()

        def make():  # anew on each try: whether it is the sole one is judged as late as can be
            sole = run.task["hold"] == "claim" or run.lease is None and not run.first_delivery.before and run.first_delivery.whole()
            return {"of": run.task["of"], "run": run.id, "worker": self.options.name, "started": started, "sole": sole, "result": result,
                    **run.stored, "started_at": run.started_at or finished_at, "finished_at": finished_at}

        def confirmed(*_):
            self._ack(run)
            self._forget(run)

        self._report(run, "finished", 1, make, confirmed)

    def _ack(self, run):
        deliveries, run.deliveries = run.deliveries, []
        for delivery in deliveries:
            delivery.ack()

    def _forget(self, run):
        self._no_timer(run)
        run.state = "ended"
        self.runs.pop(run.id, None)
        self._begin_what_waits()
        self._look_for_the_end()

    def _unsay_claim(self, run):
        """A claim that was answered or given up must not be heard again."""
        for number in range(1, run.asked + 1):
            self.to_send.pop(derived("report", "started", run.id, str(number)), None)

    # time

    def _set_deadline(self, run):
        """Tells the run's process until when it may go on: its stop, and the end of it whatever happens."""
        if run.deadline is None:
            return
        grace = self.options.kill_grace_ms / 1000
        stop = min(run.ends, run.lease.ends() if run.lease else run.ends)
        kill = min(run.ends + grace, run.lease.kills() if run.lease else run.ends + grace)
        if run.stop_at is not None:
            kill = min(kill, run.stop_at + grace)
        run.kill_at = kill
        run.deadline[:16] = struct.pack("dd", stop, kill)

    def _look(self, run):
        """Does what is due for a run by the clock, and comes back when something is."""
        self._no_timer(run)
        now = clock()
        if run.state == "asking":
            if now >= run.gives_up:
                return self._not_run(run, "its claim was not answered")
            if now >= run.ask_again:
                return self._ask(run)
            due = min(run.gives_up, run.ask_again)
        elif run.state == "running":
            self._set_deadline(run)
            lease_ends = run.lease.ends() if run.lease else float("inf")
            if now >= run.kill_at:
                self._stop(run, "lease-lost" if now >= lease_ends else "timeout", look=False)
                os.killpg(run.pid, signal.SIGKILL)  # its pipe ends, and with it the run
                return
            if run.why is None and now >= min(lease_ends, run.ends):
                self._stop(run, "lease-lost" if now >= lease_ends else "timeout", look=False)
                self._set_deadline(run)
            due = run.kill_at if run.why else min(run.kill_at, lease_ends, run.ends)
        else:
            return
        run.timer = self.loop.call_later(min(max(due - now, 0.001), FOREVER), lambda: self._look(run))

    def _no_timer(self, run):
        if run.timer is not None:
            self.loop.remove_timeout(run.timer)
            run.timer = None

    def _stop(self, run, why, look=True):
        """Asks a run to stop; the first reason stays."""
        if run.why is None:
            run.why = why
            if run.state == "asking":
                return self._not_run(run, "it was given back" if why == "drained" else "it was cancelled before it began")
            if run.state == "running":
                run.stop_at = clock()
                os.kill(run.pid, signal.SIGTERM)
                if run.number and self.to_send.pop(derived("report", "checkpoint", run.id, str(run.number)), None):
                    self._tell(run, ["checkpoint-unconfirmed", "it was not confirmed before the run had to end", True])
        if look:
            self._look(run)

    # secrets

    def _secret_may_stand(self, run, name, path):
        if not _secret_places(run.automation.manifest["input"], run.automation.manifest["input"], list(path)):
            raise Failed("secret-misplaced", f"the secret {name} stands at /{'/'.join(map(str, path))}, where this type takes none")
        return ""

    def _secret(self, name):
        found = self.options.secrets.get(name)
        if found is None:
            raise Failed("secret-unknown", f"the secret {name} is not known to this worker")
        try:
            found = str(found() if callable(found) else found)
        except Exception as error:  # its text may hold what it was about
            raise Failed("secret-unknown", f"the secret {name} cannot be had: {type(error).__name__}") from None
        if len(found.encode()) < SECRET_MIN:
            raise Failed("secret-too-short", f"the secret {name} is shorter than {SECRET_MIN} bytes, and could not be masked")
        if found not in self.secrets_seen:
            self.secrets_seen = sorted([*self.secrets_seen, found], key=len, reverse=True)
        return found

    # the end of the worker

    def drain(self):
        """Takes nothing new, gives back what is not begun, lets the rest finish within the grace, and ends."""
        if self.draining:
            return
        self.draining = True
        for channel, tag in self.consumers.values():
            if channel.is_open:
                channel.basic_cancel(tag)
        waiting, self.waiting = self.waiting, []
        for run in waiting:
            run.first_delivery.give_back()
        for run in list(self.runs.values()):
            if run.state == "asking":
                self._not_run(run, "it was given back")

        def over():
            for run in list(self.runs.values()):
                self._stop(run, "drained")

        self.loop.call_later(self.options.drain_grace_ms / 1000, over)
        self._look_for_the_end()

    def _look_for_the_end(self):
        if not self.draining or self.runs or self.to_send or self.said_goodbye:
            return
        self.said_goodbye = True

        def close(*_):
            for connection in (self.consuming, self.publishing):
                if connection.is_open:
                    connection.close()

        self._fleet("leaving", {"worker": self.options.name}, close)
        self.loop.call_later(2.0, self.loop.stop)  # a goodbye is a courtesy
