# frozen_string_literal: true

# Write a Baton worker in Ruby: declare automations, call `run`.
#
# One thread decides; those of the AMQP client only hand it what happened. Each run is a process of its own, forked from it, so that a run that has to
# end is ended (SIGKILL, with what it started and left in its process group). The rules it keeps are those of workers/PROTOCOL.md; the cases in
# schemas/json/conformance prove it.
#
# Needs ruby-bunny and ruby-json-schema. Linux.

require "bunny"
require "digest"
require "fiddle"
require "json"
require "json-schema"
require "logger"
require "securerandom"
require "set"
require "socket"

module BatonWorker
  NAMESPACE = "efaa06532f55511caa678cdb9f58cb6c"
  OID_NAMESPACE = "6ba7b8129dad11d180b400c04fd430c8"
  BODY_MAX = 512 << 10
  OUTPUT_MAX = 64 << 10
  CHECKPOINT_MAX = { "before" => 176 << 10, "progress" => 64 << 10 }.freeze
  DELIVERIES_MAX = 10
  CANCELS_KEPT = 1024
  RETRY_MIN, RETRY_MAX = 0.2, 5.0 # pauses before a report is sent again, in seconds
  MESSAGE_CHARS_MAX = 2000 # of a failure; the rest is cut, after it was masked
  SECRET_MIN = 6 # a shorter secret could not be masked, in bytes
  LATE_TIMEOUT_MAX = 300.0 # a type that may run longer is held by claim
  FOREVER = 30 * 86_400.0
  NUMBERS = { concurrency: 8, drain_grace_ms: 30_000, kill_grace_ms: 2_000, grant_ask_ms: 2_000, grant_wait_ms_max: 60_000,
              heartbeat_ms: 5_000, announce_ms: 15_000 }.freeze

  # The schema of a field that takes a text or a reference to a secret of the worker.
  SECRET_TEXT = { "x-secret" => true, "anyOf" => [{ "type" => "string" }, {
    "type" => "object", "properties" => { "$secret" => { "type" => "string" } }, "required" => ["$secret"], "additionalProperties" => false
  }] }.freeze

  # Raise it when PROVABLY nothing was changed, and nothing that was started is still alive.
  class Failed < StandardError
    attr_reader :failure

    def initialize(code, message, retryable: false, retry_after: nil)
      super("#{code}: #{message}")
      @failure = { "code" => code, "message" => message, "retryable" => retryable }
      @failure["retry_after_ms"] = (retry_after * 1000).to_i if retry_after
    end

    def kind = "failed"
  end

  # Raise it when it may or may not have happened. Any other error counts as this one.
  class Unknown < Failed
    def kind = "unknown"
  end

  # A message nobody can use: a reason, and a sentence that says nothing of its content.
  class Refused < StandardError
    attr_reader :reason

    def initialize(reason, error)
      super(error)
      @reason = reason
    end
  end

  # The answers of a probe.
  def self.happened(output) = { "happened" => { "output" => output } }
  def self.did_not = "did-not"
  def self.cannot_tell(reason) = { "cannot-tell" => { "reason" => reason } }

  def self.uuid5(namespace, bytes)
    hex = Digest::SHA1.digest([namespace].pack("H*") + bytes.b)[0, 16].unpack1("H*")
    hex[12] = "5"
    hex[16] = ((hex[16].hex & 3) | 8).to_s(16)
    hex.sub(/\A(.{8})(.{4})(.{4})(.{4})/, '\1-\2-\3-\4-')
  end

  # A derived id: UUIDv5 of the parts, joined by U+001F (schemas/json/slice-vectors.json).
  def self.derived(*parts) = uuid5(NAMESPACE, parts.join("\x1f"))

  def self.now_ms = Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond)

  # Seconds by a clock nobody sets, that goes on while the process, or the machine, is stopped.
  def self.clock = Process.clock_gettime(Process::CLOCK_BOOTTIME)

  # Memory that worker and run share: until when the run may go on, and when it is over whatever happens.
  class Deadline
    MMAP = Fiddle::Function.new(Fiddle.dlopen(nil)["mmap"], [Fiddle::TYPE_VOIDP, Fiddle::TYPE_SIZE_T, *[Fiddle::TYPE_INT] * 3, Fiddle::TYPE_LONG], Fiddle::TYPE_VOIDP)
    MUNMAP = Fiddle::Function.new(Fiddle.dlopen(nil)["munmap"], [Fiddle::TYPE_VOIDP, Fiddle::TYPE_SIZE_T], Fiddle::TYPE_INT)
    SETITIMER = Fiddle::Function.new(Fiddle.dlopen(nil)["setitimer"], [Fiddle::TYPE_INT, Fiddle::TYPE_VOIDP, Fiddle::TYPE_VOIDP], Fiddle::TYPE_INT)
    PRCTL = Fiddle::Function.new(Fiddle.dlopen(nil)["prctl"], [Fiddle::TYPE_INT, *[Fiddle::TYPE_LONG] * 4], Fiddle::TYPE_INT)

    def initialize = @at = MMAP.call(nil, 16, 3, 0x21, -1, 0).tap { |at| at.size = 16 } # read and write; shared, of no file
    def set(stop, kill) = @at[0, 16] = [stop, kill].pack("dd")
    def get = @at[0, 16].unpack("dd")
    def free = MUNMAP.call(@at, 16)

    # The kernel wakes this process when its end has come.
    def self.alarm(seconds)
      seconds = seconds.clamp(0.000001, FOREVER)
      SETITIMER.call(0, [0, 0, seconds.to_i, ((seconds % 1) * 1_000_000).to_i].pack("q4"), nil)
    end
  end

  # What a run knows beside its input. It lives in the run's own process.
  class Context
    attr_reader :of, :run, :idempotency_key, :before, :progress, :fences

    def initialize(run, task, pipe, deadline)
      @of, @run, @idempotency_key, @fences = task["of"], run, task["idempotency_key"], task.fetch("fences", {})
      @before, @progress, @known = task["before"], task["progress"], task.key?("before")
      @pipe, @deadline, @cancelled = pipe, deadline, false
      @woken, @waker = IO.pipe
    end

    def knows_before? = @known
    def cancelled? = @cancelled

    def stop
      @cancelled = true
      @waker.write_nonblock(".", exception: false)
    end

    # The key of the effect of `do`, whatever the direction: what an undo or a probe names to the outside system.
    def effect_key = BatonWorker.derived("effect", of["saga"], of["step"], of["item"].to_s, "do", of["round"].to_s)

    # Raises when the run may not act any more: call it last thing before an effect.
    def check
      raise Failed.new("stopped", "told to stop before its effect", retryable: true) if cancelled? || remaining <= 0
    end

    # Seconds this run may still go on.
    def remaining = @deadline.get.first - BatonWorker.clock

    # Sleeps; returns early when the run is to stop.
    def wait(seconds)
      ends = BatonWorker.clock + seconds
      until cancelled? || (left = [ends - BatonWorker.clock, remaining].min) <= 0
        IO.select([@woken], nil, nil, left)
      end
    end

    # Stores the state found before anything is changed; returns when that is durable. What an earlier attempt stored counts, and is returned.
    def checkpoint(found)
      unless @known
        store("before", found)
        @before, @known = found, true
        check
      end
      @before
    end

    # Stores how far it has come. Raises Unknown when the run is to stop: something may have been done by now.
    def keep(reached)
      store("progress", reached)
      @progress = reached
      raise Unknown.new("stopped", "told to stop between two of its effects", retryable: true) if cancelled? || remaining <= 0
    end

    private

    def store(kind, value)
      @pipe.puts(JSON.generate({ "checkpoint" => kind, "value" => value }))
      code, message, retryable = JSON.parse(@pipe.gets || '["worker-gone", "its worker is gone", true]')
      raise (kind == "before" ? Failed : Unknown).new(code, message, retryable: retryable) if code
    end
  end

  # A JSON object that knows when it has a field twice.
  class Strict < Hash
    attr_reader :twice

    def []=(key, value)
      @twice ||= key?(key)
      super
    end
  end

  # Reads what comes from a queue: a task, or a reason to park it.
  module Reading
    UUID = /\A\h{8}(-\h{4}){3}-\h{12}\z/
    text = ->(pattern) { ->(v) { v.is_a?(String) && v.match?(pattern) } }
    whole = ->(most) { ->(v) { v.is_a?(Integer) && v.between?(0, most) } }
    one_of = ->(*words) { ->(v) { words.include?(v) } }
    u32, u64, anything, direction = whole.(2**32 - 1), whole.(2**64 - 1), ->(_) { true }, one_of.("do", "undo", "probe")
    OF = { "saga" => text.(UUID), "step" => text.(/\A[a-z][a-z0-9_]{0,63}\z/), "item?" => u32, "direction" => direction,
           "round" => u32, "attempt" => u32, "dispatch" => u32 }.freeze
    TASK = { "of" => ->(v) { Reading.fits(v, OF) }, "task_type" => text.(/\A[a-z]([a-z0-9.-]{0,116}[a-z0-9])?@[1-9][0-9]{0,8}\z/),
             "pool" => text.(/\A[a-z][a-z0-9-]{0,63}\z/), "idempotency_key" => text.(UUID), "inbox" => text.(/\A[0-9]{2}\z/),
             "hold" => one_of.("late", "claim"), "not_after" => u64, "ask_after?" => u64, "timeout_ms" => u64, "lease_ms" => u64,
             "act?" => direction, "input" => anything, "output?" => anything, "before?" => anything, "progress?" => anything,
             "fences?" => ->(v) { v.is_a?(Strict) && !v.twice && v.values.all?(&u64) } }.freeze
    MAY_BE_NULL = %w[item ask_after act].freeze # null is as good as absent

    def self.fits(value, shape)
      return false unless value.is_a?(Strict) && !value.twice

      MAY_BE_NULL.each { |name| value.delete(name) if shape.key?("#{name}?") && value.key?(name) && value[name].nil? }
      shape.each_key.all? { |name| name.end_with?("?") || value.key?(name) } &&
        value.all? { |name, inner| (shape[name] || shape["#{name}?"])&.call(inner) }
    end

    def self.task(properties, body, serves)
      raise Refused.new("too-large", "#{body.bytesize} bytes, more than #{BODY_MAX}") if body.bytesize > BODY_MAX
      unless (properties.headers || {}).fetch("baton-version", 1) == 1 && (properties.headers || {}).fetch("baton-version", 1).is_a?(Integer)
        raise Refused.new("unknown-kind", "the header baton-version is not 1")
      end
      raise Refused.new("unknown-kind", "no task@1 on a task queue") unless [nil, "task@1"].include?(properties.type)

      task = decoded(body)
      raise Refused.new("unknown-type", "a task of another type on the queue of #{serves}") if task["task_type"] != serves

      task
    end

    def self.decoded(body)
      text = body.dup.force_encoding(Encoding::UTF_8)
      message = text.valid_encoding? ? JSON.parse(text, object_class: Strict, max_nesting: 128) : nil
      raise Refused.new("undecodable", "it has not the shape of task@1") unless fits(message, { "task@1" => ->(v) { fits(v, TASK) } })

      message["task@1"]
    rescue JSON::ParserError
      raise Refused.new("undecodable", "it is not JSON")
    end
  end

  # References to secrets in inputs, `{"$secret": NAME}`, and masks over what was resolved.
  module Secrets
    def self.allowed?(schema, root, path)
      return false unless schema.is_a?(Hash)
      return true if schema["x-secret"] == true

      at = schema["$ref"]&.delete_prefix("#/")&.split("/")
      return true if at && allowed?(root.dig(*at), root, path)
      return true if %w[anyOf oneOf allOf].any? { |key| (schema[key] || []).any? { |inner| allowed?(inner, root, path) } }
      return false if path.empty?

      first, *rest = path
      below = (schema["properties"] || {})[first] || schema[first.is_a?(Integer) ? "items" : "additionalProperties"]
      allowed?(below, root, rest)
    end

    def self.replace(value, path = [], &resolve)
      case value
      when Hash
        if value.key?("$secret")
          fine = value.size == 1 && value["$secret"].is_a?(String)
          raise Failed.new("secret-misplaced", "a reference to a secret takes one name and nothing else") unless fine

          return resolve.call(value["$secret"], path)
        end
        value.to_h { |key, inner| [key, replace(inner, [*path, key], &resolve)] }
      when Array then value.each_with_index.map { |inner, at| replace(inner, [*path, at], &resolve) }
      else value
      end
    end

    def self.mask(value, secrets)
      case value
      when String then secrets.reduce(value) { |text, secret| text.gsub(secret, "***").gsub(JSON.generate(secret)[1..-2], "***").gsub(secret.inspect[1..-2], "***") }
      when Hash then value.to_h { |key, inner| [mask(key, secrets), mask(inner, secrets)] }
      when Array then value.map { |inner| mask(inner, secrets) }
      else value
      end
    end
  end

  # How long a claimed run may go on without a sign of life that was confirmed; counts from when that was SENT.
  class Lease
    def initialize(lease_ms, sent)
      @length, @renewed = lease_ms / 1000.0, sent
      @grace = [10.0, @length / 2].min
    end

    # One that was over by then stays over.
    def renew(sent) = sent < kills && @renewed = [@renewed, sent].max
    def ends = @renewed + @length - @grace
    def kills = @renewed + @length - @grace / 2
  end

  # One task type: its manifest, and what is run for each direction.
  class Automation
    attr_reader :manifest, :ways

    def initialize(manifest, act)
      @manifest, @ways = manifest, { "do" => act }
    end

    # Takes the effect back: `|ctx, input, output, before|`. Idempotent, and content with "it never happened".
    def undo(&act)
      @manifest["undo"], @ways["undo"] = true, act
      self
    end

    # Says whether `do` happened, changing nothing: `|ctx, input, before|` returns `happened(output)`, `did_not` or `cannot_tell(reason)`.
    def probe(&act)
      @manifest["probe"], @ways["probe"] = true, act
      self
    end
  end

  # One delivery, and the channel its answer belongs to.
  Delivery = Struct.new(:channel, :info, :properties, :queue) do
    def count = (properties.headers || {}).fetch("x-delivery-count", 0).to_i + 1
    def before? = info.redelivered? || count > 1
    def whole? = channel.open? && channel.connection.open?
    def ack = answer { channel.basic_ack(info.delivery_tag.to_i, false) }
    def give_back = answer { channel.basic_nack(info.delivery_tag.to_i, false, true) }

    private

    def answer
      yield if whole?
    rescue Bunny::Exception, IOError, SystemCallError
      nil # its channel is gone: the task comes again
    end
  end

  # One task in hand. Its state is :new, :asking, :running or :ended.
  Run = Struct.new(:task, :automation, :first, :id, :deliveries, :state, :lease, :asked, :ask_again, :gives_up, :why, :stop_at, :ends, :kill_at, :pid,
                   :pipe, :buffer, :deadline, :result, :number, :stored, :started_at, :timer, keyword_init: true)
end

require_relative "baton_worker/worker"
