# frozen_string_literal: true

require_relative "bus"
require_relative "child"

module BatonWorker
  # Automations, and what runs them. Options are those of NUMBERS, and url, name, pools, secrets; each may be set by the environment as
  # `BATON__WORKER__HEARTBEAT_MS`, as for `baton-worker`.
  class Worker
    def initialize(secrets: {}, **options)
      @url = options.delete(:url) || ENV.fetch("BATON__BUS__ADDRESSES", "amqp://127.0.0.1:5672/%2f").split(",").first
      @name = options.delete(:name) || ENV["BATON__WORKER__NAME"] || "#{Socket.gethostname.gsub(/[^A-Za-z0-9_-]/, '-')}_#{SecureRandom.hex(4)}"
      @pools = options.delete(:pools) || ENV.fetch("BATON__WORKER__POOLS", "default").split(",")
      @of = NUMBERS.to_h { |key, default| [key, options.delete(key) || Integer(ENV.fetch("BATON__WORKER__#{key.upcase}", default))] }
      raise ArgumentError, "there is no option #{options.keys.first}" unless options.empty?

      @secrets, @secrets_seen, @automations, @log = secrets, [], {}, Logger.new($stderr)
      @runs, @waiting, @cancelled, @seen_queues = {}, [], [], Set.new
      @told, @woken, @waker = Queue.new, *IO.pipe
      @timers, @to_send, @unconfirmed, @out = [], {}, {}, nil
      @draining = @over = @said_goodbye = false
      @beats = 0
    end

    # Declares a block `|ctx, input|` as an automation. Times are in seconds.
    def task(type, summary:, input: {}, output: {}, effect: "reversible", idempotent: false, before_image: false, timeout: 30.0, timeout_max: nil,
             retries: {}, settle: 0.0, examples: [], &act)
      retries = { "attempts" => 3, "backoff_ms" => 1000, "factor" => 2.0, "max_ms" => 60_000 }.merge(retries)
      manifest = { "task_type" => type, "summary" => summary, "input" => input, "output" => output, "effect" => effect, "idempotent" => idempotent,
                   "before_image" => before_image, "undo" => false, "probe" => false, "dry_run" => false, "timeout_ms_default" => (timeout * 1000).to_i,
                   "timeout_ms_max" => ((timeout_max || [timeout, LATE_TIMEOUT_MAX].max) * 1000).to_i, "settle_ms" => (settle * 1000).to_i,
                   "retry" => retries, "examples" => examples }
      @automations[type] = Automation.new(manifest, act)
    end

    # Works until SIGTERM, SIGINT or a `drain@1`, then ends in order.
    def run
      %w[TERM INT].each { |signal| trap(signal) { @drain_asked = true; @waker.write_nonblock(".", exception: false) } }
      queues = @pools.product(@automations.keys).map { |pool, type| "baton.task.#{pool}.#{type}" }
      @bus = Bus.new(self, @url, @log)
      @bus.consume("baton.control.#{@name}", ["all", "worker.#{@name}"], queues, @of[:concurrency]) do |queue, channel, info, properties, body|
        queue ? delivered(Delivery.new(channel, info, properties, queue), body) : control(body)
      end
      @bus.publish { |channel, exchanges| up(channel, exchanges) }
      beat
      turn until @over
      @bus.close
      @log.info("ended")
    end

    # From any thread: `&block` is called by the one that decides.
    def tell(&block)
      @told << block
      @waker.write_nonblock(".", exception: false)
    end

    # --- publishing: confirmed, and not returned; else again, under the same id

    def returned(match)
      @unconfirmed.each_value { |letter| letter[:returned] = true if letter[:match] == match }
    end

    def confirmed(channel, tag, multiple, acked)
      return unless @out && channel.equal?(@out.first)

      (multiple ? @unconfirmed.keys.select { |one| one <= tag } : [tag]).filter_map { |one| @unconfirmed.delete(one) }.each do |letter|
        next not_through(letter) if !acked || letter[:returned]

        @to_send.delete(letter[:id])
        letter[:done]&.call(letter[:sent], true)
      end
      look_for_the_end
    end

    def down(what)
      return unless what == "publishing"

      lost, @unconfirmed, @out = @unconfirmed.values, {}, nil
      lost.each { |letter| not_through(letter) }
    end

    private

    def turn
      due = @timers.map(&:first).min
      IO.select([@woken, *@runs.each_value.filter_map(&:pipe)], nil, nil, due && [due - BatonWorker.clock, 0].max)
      @woken.read_nonblock(4096, exception: false)
      # The clock before what came: what was over by now stays over.
      now = BatonWorker.clock
      ripe, @timers = @timers.partition { |at, _| at <= now }
      ripe.each { |_, block| block.call }
      drain if @drain_asked
      @told.pop.call until @told.empty?
      @runs.values.each { |run| hear(run) if run.pipe }
    end

    def after(seconds, &block) = [BatonWorker.clock + [seconds, FOREVER].min, block].tap { |timer| @timers << timer }
    def forget_timer(timer) = @timers.delete_if { |one| one.equal?(timer) }

    def up(channel, exchanges)
      @out, @unconfirmed = [channel, exchanges], {}
      @to_send.values.each { |letter| send_letter(letter) }
      announce
    end

    # Publishes what `make` returns, made anew on every try; with `keep` it is tried again for ever.
    def say(exchange, key, kind, id, make, done: nil, keep: true, mandatory: true, saga: nil, properties: nil)
      letter = { exchange: exchange, key: key, kind: kind, id: id, make: make, done: done, keep: keep, mandatory: mandatory, saga: saga,
                 properties: properties, tries: 0 }
      @to_send[id] = letter if keep
      send_letter(letter)
    end

    def send_letter(letter)
      return if letter[:keep] && !@to_send[letter[:id]].equal?(letter)
      return (not_through(letter) unless letter[:keep]) unless @out

      channel, exchanges = @out
      ours = { message_id: letter[:id], type: letter[:kind], content_type: "application/json", app_id: "baton", correlation_id: letter[:saga],
               headers: { "baton-version" => 1 }, persistent: letter[:keep], timestamp: Time.now.to_i }.compact
      properties = letter[:properties] || ours
      letter.update(returned: false, sent: BatonWorker.clock, match: Bus.name_of(properties))
      @unconfirmed[channel.next_publish_seq_no] = letter
      exchanges[letter[:exchange]].publish(letter[:make].call, { routing_key: letter[:key], mandatory: letter[:mandatory], **properties })
    rescue Bunny::Exception, IOError, SystemCallError
      down("publishing")
    end

    def not_through(letter)
      return letter[:done]&.call(nil, false) unless letter[:keep]

      pause = [RETRY_MIN * 2**letter[:tries], RETRY_MAX].min
      letter[:tries] += 1
      after(pause) { send_letter(letter) }
    end

    def report(run, kind, number, make, done = nil)
      id = BatonWorker.derived("report", kind, run.id, number.to_s)
      say("baton.inbox", run.task["inbox"], "#{kind}@1", id, -> { JSON.generate({ "#{kind}@1" => make.call }) }, done: done, saga: run.task["of"]["saga"])
    end

    # --- the fleet, and what is told from there

    def fleet(kind, message, mandatory: false, &done)
      body = JSON.generate({ "#{kind}@1" => message })
      say("baton.fleet", "", "#{kind}@1", SecureRandom.uuid, -> { body }, done: done, keep: false, mandatory: mandatory)
    end

    def announce
      return if @draining

      again = ->(ms) { @announcing = after(ms / 1000.0) { announce } }
      forget_timer(@announcing)
      again.call(@of[:announce_ms])
      said = { "worker" => @name, "pools" => @pools, "version" => "0.1.0", "concurrency" => @of[:concurrency], "types" => @automations.values.map(&:manifest),
               "at" => BatonWorker.now_ms }
      fleet("announcement", said, mandatory: true) do |_sent, through|
        next if through # else nobody is there yet: soon again

        forget_timer(@announcing)
        again.call([1000, @of[:announce_ms]].min)
      end
    end

    def beat
      after(@of[:heartbeat_ms] / 1000.0) { beat } unless @said_goodbye
      @beats += 1
      held = @runs.values.select(&:lease)
      running = held.map { |run| { "of" => run.task["of"], "run" => run.id } }
      fleet("heartbeat", { "worker" => @name, "number" => @beats, "running" => running, "at" => BatonWorker.now_ms }) do |sent, through|
        held.each { |run| run.lease.renew(sent) && set_deadline(run) } if through
      end
    end

    def control(body)
      kind, told = JSON.parse(body).first
      case kind
      when "grant@1" then told["worker"] == @name && answered(@runs[told["run"]], told.fetch("of"), told.fetch("answer"))
      when "cancel@1" then cancel(told.fetch("of"))
      when "drain@1" then told["worker"] == @name && drain
      when "roll-call@1" then announce
      end
    rescue JSON::ParserError, NoMethodError, TypeError, KeyError => e
      @log.warn("a control message cannot be read (#{e.class}): dropped, as any hint may be")
    end

    def cancel(of)
      found = @runs.values.select { |run| run.task["of"] == of }
      found.each { |run| stop(run, "cancelled") }
      @cancelled = [*@cancelled.last(CANCELS_KEPT - 1), of] if found.empty?
    end

    # --- tasks

    def delivered(delivery, body)
      first = @seen_queues.add?(delivery.queue)
      return delivery.give_back if @draining
      if first && delivery.count > DELIVERIES_MAX
        raise Refused.new("delivered-too-often", "delivered #{delivery.count} times, and never begun: it may be what kills its workers")
      end

      type = delivery.queue.split(".", 4).last
      task = Reading.task(delivery.properties, body, type)
      ours = delivery.info.redelivered? && @runs.each_value.find { |run| run.task["of"] == task["of"] }
      return ours.deliveries << delivery if ours

      @waiting << Run.new(task: task, automation: @automations[type], first: delivery, id: SecureRandom.uuid, deliveries: [delivery], state: :new,
                          asked: 0, buffer: +"", number: 0, stored: {}, kill_at: Float::INFINITY)
      begin_what_waits
    rescue Refused => e
      park(delivery, body, e)
    end

    def park(delivery, body, refused)
      properties = delivery.properties.to_h
      acts = ->(name) { %w[x-delivery-count x-acquired-count CC BCC].include?(name) || name.start_with?("x-death", "x-first-death-", "x-last-death-") }
      headers = (properties[:headers] || {}).to_h { |name, value| [acts.call(name) ? "baton-dead-#{name}" : name, value] }
      %i[expiration user_id reply_to].each { |name| properties[name] && headers["baton-dead-#{name.to_s.tr('_', '-')}"] = properties.delete(name) }
      id = properties[:message_id]
      dead_id = id ? BatonWorker.derived("dead", delivery.queue, id, BatonWorker.uuid5(OID_NAMESPACE, body)) : SecureRandom.uuid
      notes = { "id" => dead_id, "reason" => refused.reason, "error" => refused.message, "queue" => delivery.queue, "exchange" => delivery.info.exchange,
                "key" => delivery.info.routing_key, "at-ms" => BatonWorker.now_ms, "by" => @name,
                "deliveries" => delivery.count }
      headers.update(notes.transform_keys { |name| "baton-dead-#{name}" })
      @log.warn("a message of #{delivery.queue} nobody can use is parked: #{refused.reason}, #{refused.message}")
      say("baton.dead", delivery.info.routing_key, nil, SecureRandom.uuid, -> { body }, done: ->(*) { delivery.ack },
                                                                                        properties: { **properties, headers: headers, persistent: true })
    end

    def begin_what_waits
      while !@waiting.empty? && @runs.size < @of[:concurrency]
        run = @waiting.shift
        next unless run.first.whole? # else it comes again

        @runs[run.id] = run
        begin_run(run)
      end
    end

    def begin_run(run)
      task, manifest = run.task, run.automation.manifest
      return not_run(run, "it came too late") if BatonWorker.now_ms > task["not_after"]
      return not_run(run, "it was cancelled before it began") if @cancelled.include?(task["of"])

      Secrets.replace(task["input"]) do |name, path|
        Secrets.allowed?(manifest["input"], manifest["input"], path) or
          raise Failed.new("secret-misplaced", "the secret #{name} stands at /#{path.join('/')}, where this type takes none")
      end
      unless JSON::Validator.validate(manifest["input"], task["input"], parse_data: false)
        raise Failed.new("input-misfit", "the input does not fit the schema of #{task['task_type']}")
      end

      ask_after = task["ask_after"] || task["not_after"]
      return act(run) if task["hold"] == "late" && !run.first.before? && BatonWorker.now_ms <= ask_after

      claim(run)
    rescue Failed => e
      finish(run, { "failed" => e.failure }, started: false)
    end

    # By claim: nobody acts before the orchestrator has committed who does. The lease counts from before the claim is first sent.
    def claim(run)
      run.state, run.lease = :asking, Lease.new(run.task["lease_ms"], BatonWorker.clock)
      run.gives_up = BatonWorker.clock + [@of[:grant_wait_ms_max], run.task["not_after"] - BatonWorker.now_ms].min / 1000.0
      ask(run)
    end

    def ask(run)
      run.asked += 1
      run.ask_again = Float::INFINITY
      said = { "of" => run.task["of"], "run" => run.id, "worker" => @name, "at" => BatonWorker.now_ms }
      confirmed = lambda do |*|
        run.ask_again = BatonWorker.clock + @of[:grant_ask_ms] / 1000.0
        ack(run)
        look(run)
      end
      report(run, "started", run.asked, -> { said }, confirmed)
      look(run)
    end

    def answered(run, of, answer)
      return unless run && run.state == :asking && run.task["of"] == of

      ack(run)
      unsay_claim(run)
      return forget(run) unless answer.key?("granted")

      run.task.update(answer["granted"]) # `before` and `progress`, where they are present
      act(run)
    end

    # Enters the automation, in a process of its own. Whether it may act at all is looked at here, last thing.
    def act(run)
      task = run.task
      run.ends = BatonWorker.clock + task["timeout_ms"] / 1000.0
      input = Secrets.replace(task["input"]) { |name, _path| secret(name) }
      reason = why_not(run)
      return not_run(run, reason) if reason

      run.state, run.started_at, run.deadline = :running, BatonWorker.now_ms, Deadline.new
      set_deadline(run)
      run.pipe, theirs = UNIXSocket.pair
      parent = Process.pid
      run.pid = fork do
        run.pipe.close
        Child.live(run.automation, run.id, task, input, theirs, run.deadline, parent)
      end
      theirs.close
      look(run)
    rescue Failed => e
      finish(run, { "failed" => e.failure }, started: false)
    end

    def why_not(run)
      until_ms = run.lease ? run.task["not_after"] : [run.task["not_after"], run.task["ask_after"]].compact.min
      return "it was cancelled before it began" if run.why
      return "its lease was over before it began" if run.lease && run.lease.ends <= BatonWorker.clock

      "it came too late" if BatonWorker.now_ms > until_ms
    end

    # What a run's process says: checkpoints to be stored, and its end.
    def hear(run)
      heard = run.pipe.read_nonblock(1 << 20, exception: false)
      return if heard == :wait_readable

      run.buffer << heard.to_s
      while (line = run.buffer.slice!(/\A[^\n]*\n/))
        said = JSON.parse(line)
        return checkpoint(run, said["checkpoint"], said["value"]) unless said.key?("end")

        run.result, heard = said["end"], nil
      end
      reap(run) if heard.nil?
    rescue SystemCallError
      reap(run)
    end

    def checkpoint(run, kind, value)
      bytes = JSON.generate(value).bytesize
      if Secrets.mask(value, @secrets_seen) != value
        return answer_run(run, ["checkpoint-holds-secret", "the #{kind} checkpoint holds a secret, which must never be stored", false])
      end
      return answer_run(run, ["checkpoint-too-large", "the #{kind} checkpoint has #{bytes} bytes", false]) if bytes > CHECKPOINT_MAX[kind]

      run.number += 1
      said = { "of" => run.task["of"], "run" => run.id, "kind" => kind, "number" => run.number, "value" => value }
      confirmed = lambda do |*|
        run.stored[kind] = value
        answer_run(run, [])
      end
      report(run, "checkpoint", run.number, -> { said }, confirmed)
    end

    # One that has died hears nothing, which the end of its pipe says soon.
    def answer_run(run, answer)
      run.pipe&.puts(JSON.generate(answer))
    rescue SystemCallError, IOError
      nil
    end

    def reap(run)
      run.pipe.close
      run.pipe = nil
      kill(run) # nothing it started in its group is still alive when its end is told
      Process.wait(run.pid)
      why = run.why || (run.lease && run.lease.kills <= BatonWorker.clock ? "lease-lost" : "panicked")
      gone = { "unknown" => { "code" => why, "message" => "its process ended without saying how far it had come", "retryable" => true } }
      run.deadline.free
      run.deadline = nil
      finish(run, run.result || gone, started: true)
    end

    # --- the end of a run

    def not_run(run, reason)
      unsay_claim(run)
      finish(run, { "not-run" => { "reason" => reason } }, started: false)
    end

    def finish(run, result, started:)
      run.state = :ended
      forget_timer(run.timer)
      result = Secrets.mask(result, @secrets_seen)
      result.values_at("failed", "unknown").compact.each { |failure| failure["message"] = failure["message"][0, MESSAGE_CHARS_MAX] }
      output = result.dig("succeeded", "output") || (result["probed"].is_a?(Hash) && result["probed"].dig("happened", "output"))
      if JSON.generate(output).bytesize > OUTPUT_MAX
        result = { "unknown" => { "code" => "output-too-large", "message" => "the output has more than #{OUTPUT_MAX} bytes", "retryable" => false } }
      end
      finished_at = BatonWorker.now_ms
      # anew on each try: whether it is the sole one is judged as late as can be
      make = lambda do
        sole = run.task["hold"] == "claim" || (run.lease.nil? && !run.first.before? && run.first.whole?)
        { "of" => run.task["of"], "run" => run.id, "worker" => @name, "started" => started, "sole" => sole, "result" => result, **run.stored,
          "started_at" => run.started_at || finished_at, "finished_at" => finished_at }
      end
      confirmed = lambda do |*|
        ack(run)
        forget(run)
      end
      report(run, "finished", 1, make, confirmed)
    end

    def ack(run)
      deliveries, run.deliveries = run.deliveries, []
      deliveries.each(&:ack)
    end

    def forget(run)
      forget_timer(run.timer)
      run.state = :ended
      @runs.delete(run.id)
      begin_what_waits
      look_for_the_end
    end

    # A claim that was answered or given up must not be heard again.
    def unsay_claim(run)
      1.upto(run.asked) { |number| @to_send.delete(BatonWorker.derived("report", "started", run.id, number.to_s)) }
    end

    # --- time

    def set_deadline(run)
      return unless run.deadline

      grace = @of[:kill_grace_ms] / 1000.0
      run.kill_at = [run.ends + grace, run.lease&.kills, run.stop_at && run.stop_at + grace].compact.min
      run.deadline.set([run.ends, run.lease&.ends].compact.min, run.kill_at)
    end

    # Does what is due for a run by the clock, and comes back when something is.
    def look(run)
      forget_timer(run.timer)
      now = BatonWorker.clock
      if run.state == :asking
        return not_run(run, "its claim was not answered") if now >= run.gives_up
        return ask(run) if now >= run.ask_again

        due = [run.gives_up, run.ask_again].min
      elsif run.state == :running
        set_deadline(run)
        stops = [run.ends, run.lease&.ends].compact.min
        stop(run, run.lease && now >= run.lease.ends ? "lease-lost" : "timeout", look: false) if run.why.nil? && now >= stops
        set_deadline(run)
        return kill(run) if now >= run.kill_at # its pipe ends, and with it the run

        due = run.why ? run.kill_at : [run.kill_at, stops].min
      else
        return
      end
      run.timer = after(due - now) { look(run) }
    end

    # Asks a run to stop; the first reason stays.
    def stop(run, why, look: true)
      return if run.why

      run.why = why
      return not_run(run, why == "drained" ? "it was given back" : "it was cancelled before it began") if run.state == :asking
      return unless run.state == :running

      run.stop_at = BatonWorker.clock
      Process.kill(:TERM, run.pid)
      unsaid = run.number.positive? && @to_send.delete(BatonWorker.derived("report", "checkpoint", run.id, run.number.to_s))
      answer_run(run, ["checkpoint-unconfirmed", "it was not confirmed before the run had to end", true]) if unsaid
      self.look(run) if look
    end

    def kill(run)
      Process.kill(:KILL, -run.pid)
    rescue Errno::ESRCH, Errno::EPERM
      nil
    end

    def secret(name)
      found = @secrets[name] or raise Failed.new("secret-unknown", "the secret #{name} is not known to this worker")
      begin
        found = found.call.to_s if found.respond_to?(:call)
      rescue StandardError => e # its text may hold what it was about
        raise Failed.new("secret-unknown", "the secret #{name} cannot be had: #{e.class}")
      end
      raise Failed.new("secret-too-short", "the secret #{name} is too short to be masked") if found.bytesize < SECRET_MIN

      @secrets_seen = (@secrets_seen | [found]).sort_by { |secret| -secret.size }
      found
    end

    # --- the end of the worker

    # Takes nothing new, gives back what is not begun, lets the rest finish within the grace, and ends.
    def drain
      return if @draining

      @draining = true
      Thread.new { @bus.stop_taking }
      waiting, @waiting = @waiting, []
      waiting.each { |run| run.first.give_back }
      @runs.values.each { |run| not_run(run, "it was given back") if run.state == :asking }
      after(@of[:drain_grace_ms] / 1000.0) { @runs.values.each { |run| stop(run, "drained") } }
      look_for_the_end
    end

    def look_for_the_end
      return if !@draining || !@runs.empty? || !@to_send.empty? || @said_goodbye

      @said_goodbye = true
      fleet("leaving", { "worker" => @name }) { @over = true }
      after(2.0) { @over = true } # a goodbye is a courtesy
    end
  end
end
