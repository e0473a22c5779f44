# frozen_string_literal: true

module BatonWorker
  # The whole life of a run's process, from the fork to its end.
  module Child
    def self.live(automation, run, task, input, pipe, deadline, parent)
      Process.setpgid(0, 0)
      Deadline::PRCTL.call(1, 9, 0, 0, 0) # dies with its worker: PR_SET_PDEATHSIG, SIGKILL
      exit!(1) if Process.ppid != parent
      context = Context.new(run, task, pipe, deadline)
      # Whoever stopped this process, or its worker, past the end: not one more step.
      over = lambda do |*|
        left = deadline.get.last - BatonWorker.clock
        Process.kill(:KILL, -Process.getpgrp) if left <= 0
        Deadline.alarm(left)
      end
      trap("ALRM", over)
      trap("TERM") { context.stop }
      trap("INT", "IGNORE")
      over.call
      pipe.puts(JSON.generate({ "end" => enter(automation, context, task, input) }))
    ensure
      exit!(0)
    end

    def self.enter(automation, context, task, input)
      way = task["act"] || task["of"]["direction"]
      act = automation.ways[way]
      return { "failed" => { "code" => "no-#{way}", "message" => "#{task['task_type']} has no #{way}", "retryable" => false } } unless act

      case way
      when "do"
        output = act.call(context, input)
        JSON.generate(output)
        { "succeeded" => { "output" => task["of"]["direction"] == "undo" ? nil : output } }
      when "undo"
        act.call(context, input, task["output"], task["before"])
        { "succeeded" => { "output" => nil } }
      else { "probed" => act.call(context, input, task["before"]) }
      end
    rescue Failed => e
      { e.kind => e.failure }
    rescue StandardError, NotImplementedError => e
      { "unknown" => { "code" => "panicked", "message" => "the automation raised #{e.class}: #{e.message}", "retryable" => true } }
    end
  end
end
