# frozen_string_literal: true

# The types the conformance cases are run with: an echo, an effect on a ledger over HTTP (claimed, and held late), a file with its before-image,
# one that gives its secret away, one that heeds nobody. Settings come from the environment, as for `baton-worker`.

require "net/http"
require_relative "baton_worker"

LEDGER = ENV.fetch("BATON__AUTOMATIONS__TEST_EFFECT__LEDGER_URL", "http://127.0.0.1:1")
ROOT = ENV.fetch("BATON__AUTOMATIONS__FILES__ROOTS", "/nowhere")
FAILS = { "enum" => %w[retryable final] }.freeze
MS = { "type" => %w[integer null], "minimum" => 0 }.freeze
TEXT = { "type" => "string" }.freeze
Failed = BatonWorker::Failed

def fields(properties, required = nil)
  { "type" => "object", "additionalProperties" => false, "properties" => properties, **(required ? { "required" => required } : {}) }
end

def told_to_fail(how)
  raise Failed.new("told-to-fail", "failed as its input tells it to", retryable: how == "retryable") if how
end

worker = BatonWorker::Worker.new(secrets: { "door" => -> { ENV.fetch("DOOR_SECRET") } })

worker.task("test.echo@1", summary: "Returns what it is given", effect: "none", idempotent: true, timeout: 10,
                           input: fields({ "value" => {}, "sleep_ms" => MS, "fail" => FAILS })) do |ctx, given|
  ctx.wait(given["sleep_ms"].to_i / 1000.0)
  ctx.check
  told_to_fail(given["fail"])
  { "value" => given["value"] }
end

# Asks the ledger; an answer that does not come says nothing.
def ledger(ctx, path, call = nil)
  at = URI(LEDGER + path)
  asked = call ? Net::HTTP::Post.new(at, "content-type" => "application/json") : Net::HTTP::Get.new(at)
  asked.body = JSON.generate(call) if call
  limit = [ctx.remaining, 0.1].max
  answer = Net::HTTP.start(at.host, at.port, nil, open_timeout: limit, read_timeout: limit) { |http| http.request(asked) }
  return JSON.parse(answer.body) if answer.is_a?(Net::HTTPSuccess)

  raise (answer.code.to_i < 500 ? Failed : BatonWorker::Unknown).new("http-#{answer.code}", "the ledger refuses the call")
rescue SystemCallError, IOError, Timeout::Error => e
  raise BatonWorker::Unknown.new("ledger-silent", e.message, retryable: true)
end

def enter(ctx, key, direction, value = nil)
  ledger(ctx, "/effects", { "key" => key, "direction" => direction, "saga" => ctx.of["saga"], "step" => ctx.of["step"], "run" => ctx.run, "value" => value })
end

{ "test.effect@1" => false, "test.effect-late@1" => true }.each do |type, idempotent|
  input = fields({ "key" => TEXT, "value" => {}, "delay_before_ms" => MS, "delay_after_ms" => MS, "fail" => FAILS })
  effect = worker.task(type, summary: "Enters one effect in a test ledger", idempotent: idempotent, input: input) do |ctx, given|
    ctx.wait(given["delay_before_ms"].to_i / 1000.0)
    told_to_fail(given["fail"])
    ctx.check
    key = given["key"] || ctx.effect_key
    enter(ctx, key, "do", given["value"])
    ctx.wait(given["delay_after_ms"].to_i / 1000.0)
    { "key" => key }
  end
  effect.undo { |ctx, given, _output, _before| enter(ctx, given["key"] || ctx.effect_key, "undo") }
  effect.probe do |ctx, given, _before|
    key = given["key"] || ctx.effect_key
    ledger(ctx, "/effects/#{key}")["state"] == "applied" ? BatonWorker.happened({ "key" => key }) : BatonWorker.did_not
  end
end

def look(path)
  raise Failed.new("outside", "#{path} does not lie below #{ROOT}") unless File.absolute_path(path).start_with?("#{ROOT}/")

  File.exist?(path) ? File.read(path) : nil
end

def put(path, content)
  return File.exist?(path) && File.delete(path) if content.nil?

  File.write("#{path}.new", content)
  File.rename("#{path}.new", path)
end

file = worker.task("example.put@1", summary: "Puts a small file in place", idempotent: true, before_image: true,
                                    input: fields({ "path" => TEXT, "content" => TEXT }, %w[path content])) do |ctx, given|
  found = look(given["path"])
  original = ctx.checkpoint(found) # durable before anything is changed
  raise Failed.new("somebody-else", "what stands there is neither what was found nor what is to be written") unless [original, given["content"]].include?(found)

  put(given["path"], given["content"])
  { "bytes" => given["content"].bytesize }
end
file.undo do |ctx, given, _output, before|
  next unless ctx.knows_before? # nothing was ever stored, so nothing was ever done

  found = look(given["path"])
  next if found == before
  raise Failed.new("somebody-else", "somebody has changed the file since") if found != given["content"]

  ctx.check
  put(given["path"], before)
end

worker.task("example.tell@1", summary: "Gives its secret away, which its worker has to hide", effect: "none", idempotent: true,
                              input: fields({ "door" => BatonWorker::SECRET_TEXT, "how" => { "enum" => %w[output failed raise] } })) do |_ctx, given|
  raise Failed.new("told", "the code of the door is #{given['door']}") if given["how"] == "failed"
  raise ArgumentError, given["door"] if given["how"] == "raise"

  { "door" => given["door"], "of #{given['door']}" => [given["door"]] }
end

worker.task("example.deaf@1", summary: "Writes to a file for ever and heeds nobody", effect: "irreversible",
                              input: fields({ "path" => TEXT }, ["path"])) do |_ctx, given|
  loop do
    File.write(given["path"], "on\n", mode: "a")
    sleep 0.05
  end
end

worker.run if $PROGRAM_NAME == __FILE__
